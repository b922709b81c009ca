use std::rc::Rc;

#[gopark::main]
async fn not_send() {
    let rc = Rc::new(1);
    gopark::gosched().await;
    drop(rc);
}

#[gopark::main]
async fn another_type() -> i32 {
    "text"
}

#[gopark::main(gomaxprocs = "two")]
async fn main() -> String {
    not_send();
    another_type();
    String::new()
}
