//! Ports that stay with one test.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};

/// A free port of the loopback, reserved until this is dropped.
///
/// It is held by a socket that is bound but never listens. The system gives
/// such a port to nobody else, neither to a listener nor to an outgoing
/// connection, yet a server that asks for it by number and sets `SO_REUSEADDR`
/// (every Go and every tokio program) gets it. So a server can be
/// killed, be away for a minute and come back at the same address, whatever
/// other tests do meanwhile. Connecting while it is away is refused.
///
/// Where the system is stricter than Linux about `SO_REUSEADDR`, the port is
/// only chosen, not held.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: Option<OwnedFd>,
}

impl Port {
    /// Reserves a port that is free now.
    ///
    /// # Panics
    /// When the system has none.
    pub fn reserve() -> Port {
        let (number, held) =
            reserve().unwrap_or_else(|error| panic!("cannot reserve a port of 127.0.0.1: {error}"));
        Port { number, _held: cfg!(target_os = "linux").then_some(held) }
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// As `127.0.0.1:PORT`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.number))
    }
}

fn reserve() -> rustix::io::Result<(u16, OwnedFd)> {
    let held = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::CLOEXEC)?;
    sockopt::set_socket_reuseaddr(&held, true)?;
    bind(&held, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = SocketAddr::try_from(getsockname(&held)?)?;
    Ok((address.port(), held))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::Port;

    #[test]
    fn nothing_answers_at_a_reserved_port_and_no_two_are_equal() {
        let (one, two) = (Port::reserve(), Port::reserve());
        assert_ne!(one.number(), two.number());
        let error = TcpStream::connect(one.to_string()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[ignore = "started by the test below, in a process of its own"]
    fn listen_again_and_again() {
        let port = Port::reserve();
        for _ in 0..3 {
            // The standard library sets SO_REUSEADDR, as servers do.
            let listener = std::net::TcpListener::bind(port.to_string()).unwrap();
            let _client = TcpStream::connect(port.to_string()).unwrap();
            let (_server, _) = listener.accept().unwrap();
        }
    }

    /// A process that another test starts has what is open here until it is the other program, also
    /// who listens.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_server_can_listen_at_a_reserved_port_again_and_again() {
        let listened = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "port::tests::listen_again_and_again", "--ignored"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&listened.stdout);
        assert!(listened.status.success() && said.contains("1 passed"), "{said}");
    }
}
