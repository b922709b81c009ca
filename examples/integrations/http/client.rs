//! A minimal HTTP client: one connection, one request at a time.

use std::io;
use std::net::SocketAddr;

use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt, AsyncReadExt};
use gopark::net::TcpStream;

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(addr).await?) })
    }

    /// Returns the body of the answer, or `None` if the server closed the connection without an
    /// answer. An incomplete answer is an error.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Option<String>> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let status = match self.stream.get_ref().write_all(request.as_bytes()).await {
            Ok(()) => self.line().await,
            Err(error) => Err(error),
        };
        let status = match status {
            Ok(line) if line.is_empty() => return Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                ) =>
            {
                return Ok(None);
            }
            status => status?,
        };
        if !status.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(status));
        }
        let mut length = 0;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            } else if line == "\r\n" {
                break;
            } else if let Some(("content-length", value)) = line.split_once(": ") {
                length = value.trim_end().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        String::from_utf8(body).map(Some).map_err(io::Error::other)
    }

    /// Returns the next line with its line end; empty at the end of the stream.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        Ok(line)
    }
}
