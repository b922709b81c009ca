fn main() {
    let (tx, wg) = (1, gopark::sync::WaitGroup::new());
    gopark::go!([tx] { drop(tx) });
    gopark::go!(wg, [tx] drop(tx));
    gopark::go!(drop(tx));
}
