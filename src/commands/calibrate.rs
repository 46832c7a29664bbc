//! `calibrate`: asks a running server to listen for claps, says how it goes, and keeps what was told.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::Failure;
use crate::cli::CalibrateArgs;

/// From one look to the next.
const AGAIN: Duration = Duration::from_millis(500);
/// A server that does not answer for so long is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// # Errors
/// The server cannot be asked, or has nothing to calibrate; or nothing was calibrated.
pub fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    let path = match &args.array {
        None => "/api/calibrate".to_owned(),
        Some(name) => format!("/api/arrays/{name}/calibrate"),
    };
    let query = args.distances.as_ref().map(|metres| format!("?distances={metres}")).unwrap_or_default();
    ask(args, "POST", &format!("{path}{query}"))?;
    match &args.distances {
        None => eprintln!("clap about ten times in the next 20 s, once a second, equally far from all microphones"),
        Some(metres) => {
            eprintln!("clap about ten times in the next 20 s, once a second, {metres} m from the microphones")
        }
    }
    let mut heard = 0;
    let (text, told) = loop {
        thread::sleep(AGAIN);
        let (text, told) = ask(args, "GET", &path)?;
        if told["state"] == "done" {
            break (text, told);
        }
        if told["state"] != "listening" {
            return Err(Failure::new("the server has begun anew meanwhile: try again"));
        }
        let claps = told["claps"].as_u64().unwrap_or(0);
        if claps > heard {
            heard = claps;
            eprintln!("{claps} heard");
        }
    };
    let mut known = 0;
    for (name, mic) in told["mics"].as_object().into_iter().flatten() {
        match mic["reason"].as_str() {
            None => {
                known += 1;
                let figure = |key: &str| mic[key].as_f64().unwrap_or(0.0);
                println!(
                    "{name}: moved by {:.1} samples, known to {:.1} at 95 % ({} of {} claps agree)",
                    figure("moved_samples"),
                    figure("uncertainty_samples"),
                    mic["claps_agreeing"],
                    mic["claps_heard"]
                );
            }
            Some(why) => println!("{name}: {why}"),
        }
    }
    if known < 2 {
        return Err(Failure::new(
            "nothing was calibrated: clap louder or nearer, in a quieter room, and always at one place",
        ));
    }
    println!("left open: {}", told["leaves_open"].as_str().unwrap_or_default());
    if let Some(file) = &args.keep {
        keep(file, &told, &text)?;
    }
    Ok(())
}

/// One line an array; those of other arrays stay.
fn keep(file: &std::path::Path, told: &Value, text: &str) -> Result<(), Failure> {
    let failure = |error: std::io::Error| Failure::new(format_args!("cannot keep it in {}: {error}", file.display()));
    let before = match fs::read_to_string(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failure(error)),
        before => before.unwrap_or_default(),
    };
    let is_other = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["array"] != told["array"]);
    let mut lines: Vec<&str> = before.lines().filter(is_other).collect();
    lines.push(text.trim_end());
    fs::write(file, lines.join("\n") + "\n").map_err(failure)?;
    println!("kept in {}: serve --calibration {}", file.display(), file.display());
    Ok(())
}

/// One request; the answer's body, as text and read.
fn ask(args: &CalibrateArgs, method: &str, target: &str) -> Result<(String, Value), Failure> {
    let failure =
        |what: &dyn std::fmt::Display| Failure::new(format_args!("cannot ask the server at {}: {what}", args.http));
    let mut stream = TcpStream::connect_timeout(&args.http, PATIENCE).map_err(|error| failure(&error))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| failure(&error))?;
    let token = args.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{token}Connection: close\r\n\r\n", args.http);
    stream.write_all(head.as_bytes()).map_err(|error| failure(&error))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| failure(&error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| failure(&"no answer of HTTP"))?;
    let read: Value = serde_json::from_str(body).map_err(|_| failure(&"an answer that is no JSON"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(Failure::new(read["error"].as_str().unwrap_or("the server refuses")));
    }
    Ok((body.to_owned(), read))
}
