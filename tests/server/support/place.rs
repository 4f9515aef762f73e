//! Data directories, and what is done to them.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{Client, Folder, Run, Server, add, collabd, move_to, remove, with_id};

/// A data directory of a test's own, and room beside it.
pub struct Place(Folder);

impl Place {
    pub fn new() -> Self {
        Place(Folder::new())
    }

    pub fn data(&self) -> String {
        self.path("data")
    }

    pub fn path(&self, name: &str) -> String {
        self.0.typed(name)
    }

    pub fn serve(&self) -> Server {
        Server::start(&["--no-settle", "--data-dir", &self.data()])
    }

    /// A command about the directory.
    pub fn run(&self, args: &[&str]) -> Run {
        let mut command = collabd(args);
        command.env("COLLABD_DATA_DIR", self.data());
        Run::of(command)
    }

    /// A run that does what it should and has nothing to remark.
    pub fn succeeds(&self, args: &[&str]) -> String {
        self.run(args).succeeded()
    }

    /// A run that fails with one line.
    pub fn fails(&self, args: &[&str], code: i32) -> String {
        self.run(args).failed(code)
    }

    /// The items that `sessions export` writes.
    pub fn exported(&self, args: &[&str]) -> Vec<Value> {
        let text = self.succeeds(&[&["sessions", "export"], args].concat());
        canvas_items(&serde_json::from_str(&text).expect("JSON"))
    }
}

/// Another one each time.
pub fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub fn canvas_items(canvas: &Value) -> Vec<Value> {
    assert!(canvas["version"].is_number() && canvas["timestamp"].is_string(), "{canvas}");
    canvas["items"].as_array().expect("a list of items").clone()
}

/// Killed without a word.
pub fn kill(mut server: Server) {
    server.signal("KILL");
    server.wait();
}

/// Stopped as it should be.
pub fn stop(mut server: Server) {
    server.stop();
}

/// Has it done, and waits until it is on disk.
pub fn confirmed(client: &mut Client, message: Value) -> u64 {
    client.send(with_id(message, number()));
    client.expect("message_delivered")["seq"].as_u64().expect("a number")
}

/// Four changes; what the canvas shows after each. The items have the fields that an exported file has.
pub fn story(client: &mut Client) -> Vec<Vec<Value>> {
    let changes = [
        add("a", json!({"_type": "component", "item_uuid": "a", "x_mm": 1.50, "ü\n": "\u{202e}"})),
        add("b", json!({"_type": "component", "item_uuid": "b", "n": 1})),
        move_to("a", 7.25),
        remove("b"),
    ];
    let mut canvases = vec![Vec::new()];
    for change in changes {
        confirmed(client, change);
        canvases.push(client.items());
    }
    canvases
}
