fn main() {
    let rc = std::rc::Rc::new(1);
    gopark::go(async move { drop(rc) });
}
