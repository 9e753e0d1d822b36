//! The floor of the Redis protocol: a bare tokio server that answers a constant to whatever looks like the end of a
//! command. What it costs is the kernel's price and the runtime's; the rest is what a store adds.
//!
//! `floor_resp` prints `{"resp":"127.0.0.1:PORT"}` when it listens. It understands what redis-benchmark sends and no
//! more: arrays of bulk strings, GET and SET told apart by the first letter of the first word.

use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The reply to GET: a value of 64 bytes, as redis-benchmark is told to write.
const VALUE: &[u8] = b"$64\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";
const DONE: &[u8] = b"+OK\r\n";

/// Counts the whole commands at the front of `input`, appends their replies, and says how many bytes they took.
fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
    let mut taken = 0;
    while let Some((length, is_get)) = command(&input[taken..]) {
        out.extend_from_slice(if is_get { VALUE } else { DONE });
        taken += length;
    }
    taken
}

/// The length of the first command and whether it is a GET; None while it is not whole.
fn command(input: &[u8]) -> Option<(usize, bool)> {
    let (words, mut at) = number(input, 0)?;
    let first = at;
    for _ in 0..words {
        let (length, start) = number(input, at)?;
        at = start + length + 2;
    }
    let (_, word) = number(input, first)?;
    (input.len() >= at).then(|| (at, input[word] == b'G'))
}

/// The number between a type byte and CRLF at `at`, and where the next thing starts.
fn number(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let digits = input.get(at + 1..)?;
    let end = digits.iter().position(|b| *b == b'\r')?;
    let number = digits[..end].iter().fold(0, |sum, b| sum * 10 + usize::from(b - b'0'));
    Some((number, at + 1 + end + 2))
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let (mut input, mut out) = (Vec::with_capacity(64 * 1024), Vec::new());
    while socket.read_buf(&mut input).await? > 0 {
        let taken = answer(&input, &mut out);
        input.drain(..taken);
        socket.write_all(&out).await?;
        out.clear();
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{{\"resp\":\"{}\"}}", listener.local_addr()?)?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(serve(socket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_commands_are_answered_and_the_rest_waits() {
        let input = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n*2\r\n$3\r\nGE";
        let mut out = Vec::new();
        assert_eq!(answer(input, &mut out), input.len() - 10);
        assert_eq!(out, [VALUE, DONE].concat());
        for end in 0..20 {
            assert_eq!(answer(&input[..end], &mut Vec::new()), 0, "{end} bytes are no command");
        }
    }
}
