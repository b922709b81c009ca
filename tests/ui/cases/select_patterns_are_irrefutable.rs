use std::ops::Bound;

use gopark::select::fut;

async fn f() {
    gopark::select! {
        Bound::Included(_) = fut(async { Bound::Included(1) }) => {}
    }
    gopark::select! {
        Some(Bound::Included(_)) = fut(async { Some(Bound::Included(1)) }) => {}
    }
}

fn main() {
    let _ = f;
}
