use std::time::{Duration, Instant};

use super::*;
use crate::clock::Time;

#[test]
fn it_is_never_before_now_and_not_much_later_tm01() {
    let until = Instant::now() + Duration::from_millis(100);
    let mut looks = 0;
    while Instant::now() < until {
        for _ in 0..looks % 50 {
            std::hint::spin_loop();
        }
        let before = Time::now();
        let told = coarse_now();
        let after = Time::now();
        assert!(told >= before, "early");
        // Even the slowest accepted counter is not later than this.
        assert!(told <= after.after(Duration::from_micros(100)), "late");
        looks += 1;
    }
}
