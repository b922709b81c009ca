//! Hello from a goroutine.

fn main() {
    gopark::block_on(example());
}

pub(crate) async fn example() {
    let greeting = gopark::go(async { "hello" }).await.unwrap();
    println!("{greeting}");
    assert_eq!(greeting, "hello");
}
