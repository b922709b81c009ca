async fn f(tx: gopark::chan::Sender<i32>) {
    gopark::select! {
        Some(()) = tx.send(1) => {}
    }
}

fn main() {
    let _ = f;
}
