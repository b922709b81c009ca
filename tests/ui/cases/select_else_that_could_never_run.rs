async fn f(rx: gopark::chan::Receiver<i32>) {
    gopark::select! {
        v = rx.recv() => drop(v),
        else => {}
    }
    gopark::select! {
        Some(v) = rx.recv() => drop(v),
        _ = gopark::time::sleep(std::time::Duration::ZERO) => {}
        else => {}
        default => {}
    }
}

fn main() {
    let _ = f;
}
