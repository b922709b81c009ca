async fn f() {
    gopark::select! {
        _ = std::future::ready(1) => {}
    }
}

fn main() {
    let _ = f;
}
