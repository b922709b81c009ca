//! Readiness that is not there: full peers, idle streams, empty buffers, forked processes.

use std::io;

use gopark::Runtime;
use gopark::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::util::isolated;

/// A path for a socket of the test.
fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("gopark-{name}-{}", std::process::id()))
}

/// A bug: the child of a fork accepted a connection and registered it with the poller that it
/// shares with its parent. So the parent got events of a stream that it does not have.
#[test]
fn a_forked_child_accepts_no_connection() {
    isolated(|| {
        Runtime::new().block_on(async {
            let path = path("fork-accept");
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let unix = UnixListener::bind(&path).unwrap();
            let _clients = (
                std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap(),
                std::os::unix::net::UnixStream::connect(&path).unwrap(),
            );
            let refuses = |error: io::Error| error.kind() == io::ErrorKind::Unsupported;
            // SAFETY: the child makes a few system calls, and ends.
            match unsafe { libc::fork() } {
                0 => {
                    let refused = tcp.try_accept().is_err_and(refuses)
                        && unix.try_accept().is_err_and(refuses);
                    // SAFETY: as above.
                    unsafe { libc::_exit(i32::from(!refused)) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is valid for the result.
                    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                    assert_eq!(status, 0);
                }
            }
            // Both connections are still there.
            tcp.try_accept().unwrap();
            unix.try_accept().unwrap();
            std::fs::remove_file(path).unwrap();
        });
    });
}
