//! The cases. Other files refer to them by name.

use super::serve::Kind;

#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    /// Additional connections that send one request, and then stay open.
    pub(crate) idle: usize,
}

pub(crate) const CASES: [Case; 11] = [
    Case { name: "http_64", kind: Kind::Http, connections: 64, idle: 0 },
    Case { name: "echo_1", kind: Kind::Echo, connections: 1, idle: 0 },
    Case { name: "echo_100", kind: Kind::Echo, connections: 100, idle: 0 },
    Case { name: "echo_1000", kind: Kind::Echo, connections: 1000, idle: 0 },
    Case { name: "echo_50", kind: Kind::Echo, connections: 50, idle: 0 },
    Case { name: "echo_50_of_10000", kind: Kind::Echo, connections: 50, idle: 9950 },
    Case { name: "hogs_8", kind: Kind::Hogs, connections: 8, idle: 0 },
    Case { name: "yielding_hogs_8", kind: Kind::Yields, connections: 8, idle: 0 },
    Case { name: "ping_pong_64", kind: Kind::PingPong, connections: 64, idle: 0 },
    Case { name: "accept_16", kind: Kind::Accept, connections: 16, idle: 0 },
    Case { name: "parked_8000", kind: Kind::Mem, connections: 200, idle: 8000 },
];
