//! Asks a model a sum by Connect with JSON, and prints the answer as it comes.

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};

use serde_json::{json, Value};

/// Bytes of one message of an answer.
const MAX_MESSAGE: u32 = 16 << 20;

/// Connect's flag of the last message of a stream.
const END: u8 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("SKEIN_URL")?;
    let key = env::var("SKEIN_KEY")?;
    let ask = json!({"model": "calc", "messages": [{"role": "user", "content": "sum 17 25"}]}).to_string();
    // A message is a byte of flags, its length (big-endian), and itself.
    let mut body = vec![0];
    body.extend((ask.len() as u32).to_be_bytes());
    body.extend(ask.as_bytes());
    let mut answer = ureq::post(&format!("{url}/skein.inference.v1.InferenceService/Chat"))
        .set("Authorization", &format!("Bearer {key}"))
        .set("Content-Type", "application/connect+json")
        .set("Connect-Protocol-Version", "1")
        .send_bytes(&body)?
        .into_reader();
    loop {
        let mut head = [0; 5];
        answer.read_exact(&mut head)?;
        let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        if size > MAX_MESSAGE {
            return Err(format!("a message of {size} bytes").into());
        }
        let mut text = vec![0; size as usize];
        answer.read_exact(&mut text)?;
        let piece: Value = serde_json::from_slice(&text)?;
        if head[0] & END != 0 {
            if let Some(error) = piece.get("error") {
                return Err(error.to_string().into());
            }
            println!();
            return Ok(());
        }
        print!("{}", piece["text"].as_str().unwrap_or(""));
        io::stdout().flush()?;
    }
}
