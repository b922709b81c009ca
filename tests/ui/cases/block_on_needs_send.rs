fn main() {
    let rc = std::rc::Rc::new(1);
    gopark::block_on(async {
        gopark::gosched().await;
        drop(rc);
    });
}
