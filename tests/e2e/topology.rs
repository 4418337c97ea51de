//! The laboratory itself.

use sockd_tests::far::Far;
use sockd_tests::line::Line;
use sockd_tests::site::{SERVER, Site};
use std::net::TcpStream;
use std::time::Duration;

#[test]
fn the_gateway_reaches_the_server_and_a_client_does_not() {
    let site = Site::new();
    let far = Far::listen(&site.server, SERVER);
    let mut near = Line::dial(&site.gateway, far.address());
    near.send("hello");
    assert_eq!(far.accept().read(5), b"hello");
    let direct = site.client.run(|| TcpStream::connect_timeout(&far.address(), Duration::from_millis(300)));
    assert!(direct.is_err());
}
