//! The messages: masked frames, encoded once, of which only the mark is rewritten for each sending.
//!
//! The mark is the second field of each message and says who sent it as which one and when it was
//! due. collabd passes it on as an unknown field at the same place.

/// Any mask is as good as another; this one changes every byte.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x3c];
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Digits of session, sender, number and due time.
const DIGITS: [usize; 4] = [4, 4, 8, 16];
const MARK: usize = 32;
/// What stands before the mark, with either type.
const CURSOR: &[u8] = br#"{"type":"cursor","mark":""#;
const COMMAND: &[u8] = br#"{"type":"command","mark":""#;
/// What stands before a command's id, and after it, when it is confirmed.
const CONFIRMED: &[u8] = br#"{"type":"message_delivered","id":""#;
const SEQ: &[u8] = br#"","seq":"#;
/// How many items a sender drags in turn, so that the others become still and are settled.
pub const ITEMS: u32 = 8;
/// How many messages a drag has.
const DRAG: u32 = 100;

/// Who sent a message as which one, and when it was due (monotonic clock, nanoseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub session: u32,
    pub sender: u32,
    pub number: u32,
    pub due: u64,
}

impl Mark {
    /// The mark of a message, if it has one.
    pub fn of(payload: &[u8]) -> Option<Mark> {
        let start = [CURSOR, COMMAND].into_iter().find(|start| payload.starts_with(start))?;
        Mark::parse(payload.get(start.len()..start.len() + MARK)?)
    }

    /// The mark and the `seq` of a confirmation, if it is one.
    pub fn confirmed(payload: &[u8]) -> Option<(Mark, u64)> {
        let (mark, rest) = payload.strip_prefix(CONFIRMED)?.split_at_checked(MARK)?;
        let seq = rest.strip_prefix(SEQ)?;
        let seq = &seq[..seq.iter().position(|byte| !byte.is_ascii_digit())?];
        Some((Mark::parse(mark)?, std::str::from_utf8(seq).ok()?.parse().ok()?))
    }

    fn parse(digits: &[u8]) -> Option<Mark> {
        let mut digits = digits.iter();
        let mut fields = [0; 4];
        for (field, count) in fields.iter_mut().zip(DIGITS) {
            for digit in digits.by_ref().take(count) {
                *field = *field << 4 | u64::from(value_of(*digit)?);
            }
        }
        let [session, sender, number, due] = fields;
        Some(Mark { session: session as u32, sender: sender as u32, number: number as u32, due })
    }

    fn digits(self) -> [u8; MARK] {
        let fields = [self.session.into(), self.sender.into(), self.number.into(), self.due];
        let mut mark = [b'0'; MARK];
        let mut start = 0;
        for (mut field, count) in fields.into_iter().zip(DIGITS) {
            for digit in mark[start..start + count].iter_mut().rev() {
                *digit = HEX[(field & 0xf) as usize];
                field >>= 4;
            }
            start += count;
        }
        mark
    }
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What a sender says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Cursor,
    /// `move_item` and `update_item` in turn, as a drag has them.
    Command,
    /// The same with the mark as an id, so that they are confirmed, and in the item, so that no
    /// change leaves it as it was.
    Confirmed,
    /// Commands that have an editor's whole dictionary of a component with a picture: an update of it is
    /// relayed in two forms, of which one lacks the mark.
    Component,
}

impl std::str::FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "cursor" => Ok(Kind::Cursor),
            "command" => Ok(Kind::Command),
            "confirmed" => Ok(Kind::Confirmed),
            "component" => Ok(Kind::Component),
            _ => Err(()),
        }
    }
}

/// All frames of one sender.
pub struct Script {
    frames: Vec<Template>,
    /// What has to be said before the first of them: the items exist.
    pub prologue: Vec<u8>,
}

struct Template {
    frame: Vec<u8>,
    /// Where the mark goes.
    marks: Vec<usize>,
}

impl Script {
    /// The script of a sender whose messages have `size` bytes and change so many `items`.
    pub fn new(kind: Kind, session: u32, sender: u32, size: usize, items: u32) -> Self {
        let mark = "0".repeat(MARK);
        if kind == Kind::Cursor {
            let text = format!(r#"{{"type":"cursor","mark":"{mark}","x_mm":12.5,"y_mm":-40.25"#);
            let frames = vec![Template::new(&filled(&text, "", size), &mark)];
            return Script { frames, prologue: Vec::new() };
        }
        let (id, field) = match kind {
            Kind::Confirmed => (format!(r#","id":"{mark}""#), format!(r#""mark":"{mark}","#)),
            _ => Default::default(),
        };
        if kind == Kind::Component {
            return Script::of_components(session, sender, size, items);
        }
        let mut prologue = Vec::new();
        let mut frames = Vec::new();
        for n in 0..items {
            let item = format!("item-{session}-{sender}-{n}");
            prologue.extend(self::item(&item, size));
            for action in ["move_item", "update_item"] {
                let text = format!(
                    r#"{{"type":"command","mark":"{mark}"{id},"command":{{"action":"{action}","item_type":"lens","item_id":"{item}","data":{{{field}"uuid":"{item}","item_type":"lens","x_mm":12.5,"y_mm":-40.25,"angle_deg":45.0"#
                );
                frames.push(Template::new(&filled(&text, "}}", size), &mark));
            }
        }
        Script { frames, prologue }
    }

    fn of_components(session: u32, sender: u32, size: usize, items: u32) -> Self {
        let mark = "0".repeat(MARK);
        let filling = "x".repeat(size / 4);
        let said = |action: &str, mark: &str, n: u32, x: f64| {
            let item = format!("item-{session}-{sender}-{n}");
            let text = format!(
                r#"{{"type":"command"{mark},"command":{{"action":"{action}","item_type":"component","item_id":"{item}","data":{{"uuid":"{item}","item_uuid":"{item}","_type":"component","item_type":"component","x_mm":{x:?},"y_mm":-40.25,"angle_deg":0.0,"object_height_mm":55.9,"mm_per_pixel":0.0559,"name":"L1 f=100","image_path":"objects/library/lens_1_inch/images/lens_1_inch.png","reference_line_mm":[0.0,27.95,0.0,-27.95],"interfaces":[{{"x1_mm":3.0,"y1_mm":27.95,"x2_mm":3.0,"y2_mm":-27.95,"element_type":"lens","efl_mm":100.0}}],"category":"lenses","notes":"{filling}","locked":false,"z_value":0.0}}}}}}"#
            );
            masked(text.as_bytes())
        };
        let marked = format!(r#","mark":"{mark}""#);
        let mut prologue = Vec::new();
        let mut frames = Vec::new();
        for n in 0..items {
            prologue.extend(said("add_item", "", n, 0.0));
            // A drag: each of them has another place.
            for (action, x) in [("move_item", 12.5), ("update_item", -12.5)] {
                let frame = said(action, &marked, n, x);
                let header = if frame[1] & 0x7f < 126 { 6 } else { 8 };
                let unmasked = frame[header..].iter().zip(MASK.iter().cycle());
                let text: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
                frames.push(Template::new(&String::from_utf8_lossy(&text), &mark));
            }
        }
        Script { frames, prologue }
    }

    /// The frame of this sender's message with this mark.
    pub fn frame(&mut self, mark: Mark) -> &[u8] {
        let drags = self.frames.len() as u32 / 2;
        let place = match drags {
            0 => 0,
            _ => mark.number / DRAG % drags * 2 + mark.number % 2,
        };
        let template = &mut self.frames[place as usize];
        let header = template.header();
        for start in &template.marks {
            for (n, digit) in mark.digits().into_iter().enumerate() {
                template.frame[start + n] = digit ^ MASK[(start - header + n) % 4];
            }
        }
        &template.frame
    }
}

impl Template {
    fn new(text: &str, mark: &str) -> Self {
        let frame = masked(text.as_bytes());
        let header = frame.len() - text.len();
        Template { frame, marks: text.match_indices(mark).map(|(at, _)| header + at).collect() }
    }

    fn header(&self) -> usize {
        if self.frame[1] & 0x7f < 126 { 6 } else { 8 }
    }
}

/// The frame that adds an item, a message of `size` bytes.
pub fn item(id: &str, size: usize) -> Vec<u8> {
    let text = format!(
        r#"{{"type":"command","command":{{"action":"add_item","item_type":"lens","item_id":"{id}","data":{{"uuid":"{id}","item_type":"lens","x_mm":0.0"#
    );
    masked(filled(&text, "}}", size).as_bytes())
}

/// An object with a field of filling so that the whole has `size` bytes.
fn filled(start: &str, inner_end: &str, size: usize) -> String {
    let around = start.len() + r#","note":"""#.len() + inner_end.len() + 1;
    let filling = "x".repeat(size.saturating_sub(around));
    format!(r#"{start},"note":"{filling}"{inner_end}}}"#)
}

/// A text message as a client's frame.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    frame(0x1, payload)
}

/// A client's frame.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        0..=125 => frame.push(0x80 | payload.len() as u8),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_from_every_message() {
        for (kind, size) in [
            (Kind::Cursor, 120),
            (Kind::Command, 300),
            (Kind::Confirmed, 500),
            (Kind::Command, 2000),
        ] {
            let mut script = Script::new(kind, 7, 12, size, ITEMS);
            for number in [0, 1, 99, 100, 12_345] {
                let mark = Mark { session: 7, sender: 12, number, due: 0x0123_4567_89ab_cdef };
                let frame = script.frame(mark).to_vec();
                let header = frame.len() - size;
                let payload: Vec<u8> = frame[header..]
                    .iter()
                    .zip(MASK.iter().cycle())
                    .map(|(byte, mask)| byte ^ mask)
                    .collect();
                assert_eq!(Mark::of(&payload), Some(mark));
                assert_eq!((payload[0], payload[size - 1]), (b'{', b'}'));
            }
        }
    }
    #[test]
    fn a_confirmation_has_the_mark_as_its_id() {
        let mark = Mark { session: 7, sender: 12, number: 99, due: 0x0123_4567_89ab_cdef };
        let mut script = Script::new(Kind::Confirmed, 7, 12, 500, ITEMS);
        let frame = script.frame(mark);
        let payload: Vec<u8> =
            frame[8..].iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let text = String::from_utf8(payload).unwrap();
        let id = text.split(r#""id":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let confirmation = |id: &str, seq: &str| {
            format!(
                r#"{{"type":"message_delivered","id":"{id}","seq":{seq},"original_type":"command"}}"#
            )
        };
        let read = |id, seq| Mark::confirmed(confirmation(id, seq).as_bytes());
        assert_eq!(read(id, "1042"), Some((mark, 1042)));
        assert_eq!(read(id, "null"), None);
        assert_eq!(read(&id[1..], "1042"), None);
    }
}
