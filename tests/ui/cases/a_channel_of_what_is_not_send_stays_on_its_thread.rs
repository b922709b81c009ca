fn main() {
    let (tx, _rx) = gopark::chan::bounded::<std::rc::Rc<()>>(1);
    std::thread::spawn(move || drop(tx));
}
