//! A message in one line, for whoever reads what happened in a run.

use serde_json::Value;

/// The line.
pub fn of(message: &Value) -> String {
    let kind = message["type"].as_str().unwrap_or("?");
    match kind {
        "command" => {
            let command = &message["command"];
            let mut line = format!("{} {}", text(&command["action"]), text(&command["item_id"]));
            for name in ["seq", "settled", "user_id", "id"] {
                if let Some(value) = message.get(name) {
                    line += &format!(" {name}={}", text(value));
                }
            }
            line + &item(&command["data"])
        }
        "sync:state" | "sync:full_state" | "sync:update" => {
            let items = message["state"]["items"].as_array();
            let items = items.map(|items| {
                let items =
                    items.iter().map(|data| format!("[{}{}]", text(&data["uuid"]), item(data)));
                items.collect::<String>()
            });
            let target = text(&message["target_user"]);
            format!("{kind} for {target}: {}", items.unwrap_or("null".into()))
        }
        _ => message.to_string(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An item.
pub fn item(data: &Value) -> String {
    let mut line = String::new();
    for (name, value) in data.as_object().into_iter().flatten() {
        let short = match name.as_str() {
            "x_mm" => "x",
            "y_mm" => "y",
            "angle_deg" => "a",
            "z_value" => "z",
            "locked" => "lock",
            "name" | "size_mm" | "n_rays" | "color_hex" => name,
            "object_height_mm" => "h",
            "image_path" => "pic",
            "interfaces" => {
                let of = |interface: &Value| {
                    let own = ["efl_mm", "reflectivity", "n2"].map(|name| &interface[name]);
                    let own = own.iter().find(|value| !value.is_null()).map(|value| text(value));
                    format!("{}:{}", text(&interface["x1_mm"]), own.unwrap_or_default())
                };
                let list: Vec<String> = value.as_array().into_iter().flatten().map(of).collect();
                line += &format!(" i={}", list.join(","));
                continue;
            }
            _ => continue,
        };
        line += &format!(" {short}={}", text(value));
    }
    line
}
