fn main() {
    let list = vec![1];
    gopark::go(async { println!("{list:?}") });
}
