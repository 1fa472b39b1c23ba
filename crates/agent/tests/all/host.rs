//! What an agent says of its host.

use crate::controller::Controller;
use crate::toy::Host;

#[test]
fn a_hello_says_who_and_where_and_from_what() {
    let host = Host::new();
    let controller = Controller::of(&host);
    let agent = host.agent();
    let hello = controller.accept().hello.unwrap();
    assert_eq!((hello.host.as_str(), hello.zone.as_str()), ("h1", "a"));
    assert_eq!(hello.address, "127.0.0.1");
    assert_eq!(hello.pid, std::process::id());
    assert_eq!(hello.image.as_deref(), Some("toy image"));
    assert_eq!(hello.boot.len(), 36, "{}", hello.boot);
    agent.stop();
    let identity = std::fs::read(host.path("agent/pid.json")).unwrap();
    let identity: evenkeel_drivers::process::Identity = serde_json::from_slice(&identity).unwrap();
    assert_eq!(Some(identity), evenkeel_drivers::process::Identity::of(std::process::id()));
}
