async fn f(rx: gopark::chan::Receiver<i32>) {
    gopark::select! {
        Some(_) = rx.recv() => {}
    }
}

fn main() {
    let _ = f;
}
