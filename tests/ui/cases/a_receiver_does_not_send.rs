fn main() {
    let (_tx, rx) = gopark::chan::unbuffered::<i32>();
    let _ = rx.send(1);
}

// CH-16: a receiving end never becomes a sending one.
