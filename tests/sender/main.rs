//! The sender of docs/formats.md, as users paste it: compiled on the host against a stand-in for Arduino's libraries, and heard on
//! a real socket.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use micring::wire::{Format, Parsed, parse};

const FORMAT: &str = "raw:s32le,skip=12,seq=u32le@0,time=u32le@4:us";

/// The code of the document, with this test's address in place of the reader's.
fn sketch(port: u16) -> String {
    let document = include_str!("../../docs/formats.md");
    let code =
        document.split("```cpp\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the document has it");
    assert!(document.contains(FORMAT), "and says how to declare it");
    let here = code.replace("SERVER(192, 168, 1, 10)", "SERVER(127, 0, 0, 1)");
    let here = here.replace("PORT = 30001", &format!("PORT = {port}"));
    assert!(here.contains("127, 0, 0, 1") && here.contains(&port.to_string()), "both are where they can be changed");
    here
}

/// Compiles a sketch, and runs so many turns of its loop.
fn run(name: &str, code: &str, turns: u32) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sender-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (source, program) = (folder.join("sketch.cpp"), folder.join("sketch"));
    std::fs::write(&source, code).expect("a file");
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sender/arduino");
    let compiled = Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-I"])
        .args([&stand_in, &source, Path::new("-o"), &program])
        .output()
        .expect("g++ runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ran = Command::new(&program).env("LOOPS", turns.to_string()).output().expect("it runs");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::remove_dir_all(&folder).expect("what was made can be removed");
}

fn socket() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let port = socket.local_addr().expect("bound").port();
    (socket, port)
}

fn datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let len = socket.recv(&mut buffer).expect("a datagram");
    buffer[..len].to_vec()
}

#[test]
fn the_sender_of_the_document_sends_what_the_document_says() {
    let (socket, port) = socket();
    run("document", &sketch(port), 50);
    let format: Format = FORMAT.parse().expect("the format");
    let (mut position, mut before) = (0_i32, None);
    for number in 0..50 {
        let datagram = datagram(&socket);
        assert_eq!(datagram.len(), 1440);
        let Ok(Parsed::Unit(unit)) = parse(&format, &datagram) else { panic!("it is what it is declared to be") };
        assert_eq!((unit.number.expect("a number").value, unit.frames()), (number, 357));
        for sample in unit.samples.s32le(&mut Vec::new()).as_chunks().0 {
            assert_eq!(i32::from_le_bytes(*sample), 1 << 28 | position << 8);
            position += 1;
        }
        let now = unit.sampled_at.expect("a time").ticks as u32;
        if let Some(before) = before.replace(now) {
            assert!(now.wrapping_sub(before) < 1 << 31, "its clock goes forward: {before}, {now}");
        }
    }
}

/// The stand-in cuts as the library does, or the test above would show nothing: arduino-esp32's `write` sends 1460 bytes when
/// there is one more.
#[test]
fn the_stand_in_cuts_at_1460_bytes() {
    let (socket, port) = socket();
    let code = format!(
        "#include <WiFi.h>\n#include <WiFiUdp.h>\nWiFiUDP udp;\nuint8_t bytes[2048];\nvoid setup() {{}}\n\
         void loop() {{ udp.beginPacket(IPAddress(127, 0, 0, 1), {port}); udp.write(bytes, 2048); udp.endPacket();\n\
         udp.beginPacket(IPAddress(127, 0, 0, 1), {port}); udp.write(bytes, 1460); udp.endPacket(); }}\n"
    );
    run("cut", &code, 1);
    assert_eq!([0; 3].map(|_| datagram(&socket).len()), [1460, 588, 1460]);
}
