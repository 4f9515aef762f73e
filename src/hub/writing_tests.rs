use super::*;
use crate::hub::bounds::Allowance;
use crate::hub::document::{Author, Document};
use crate::hub::told::{Audience, Part, Report, Told};
use crate::protocol::inbound::{self, ClientMessage};

const SOURCE: &str = r##"{"_type":"source","x_mm":-300.0,"y_mm":5.0,"angle_deg":0.0,"n_rays":5,"color_hex":"#0000ff"}"##;
const MIRROR: &str = r#"{"_type":"component","x_mm":0.0,"y_mm":1.0,"angle_deg":45.0,"name":"M1","image_path":"objects/m.png",
    "interfaces":[{"x1_mm":-25.7,"y1_mm":10.0,"x2_mm":-25.7,"y2_mm":-10.0,"element_type":"mirror"}]}"#;

/// A document in which `alice` has added the item at tick 1, and then these users have written these
/// fields at these ticks.
fn document(item: &str, writes: &[(u64, &str, &str)]) -> Document {
    let mut document = Document::default();
    let fields = fields(item);
    let alice: UserId = "alice".into();
    document
        .add(
            "a",
            fields,
            None,
            Author {
                user: &alice,
                tick: 1,
                received: 0,
                at: crate::protocol::Timestamp::from_millis(0),
            },
            Allowance::NONE,
        )
        .expect("there is room");
    for (tick, user, said) in writes {
        let user: UserId = (*user).into();
        let written = document.overwrite(
            "a",
            self::fields(said),
            Author {
                user: &user,
                tick: *tick,
                received: 0,
                at: crate::protocol::Timestamp::from_millis(0),
            },
            Allowance::NONE,
        );
        written.expect("there is room");
    }
    document
}

fn fields(data: &str) -> Fields {
    let text = format!(
        r#"{{"type":"command","command":{{"action":"update_item","item_id":"a","data":{data}}}}}"#
    );
    let Ok(ClientMessage::Command(command)) = inbound::parse(&text) else { panic!("{text}") };
    command.data
}

/// What the dictionary `said` writes, as JSON, and whether the copy shows something older.
fn judged(document: &Document, said: &str, copy: Copy<'_>) -> (String, bool) {
    let item = document.get("a").expect("it is there");
    let written = written(item, fields(said), copy);
    let mut json = Vec::new();
    let fields = written.fields.iter().map(|(key, value)| (&**key, &**value));
    crate::protocol::outbound::write_object(&mut json, fields);
    (String::from_utf8(json).expect("text"), written.is_stale || written.is_color_stale)
}

fn own_moved() -> String {
    r#"[{"x1_mm":0.0,"y1_mm":10.0,"x2_mm":0.0,"y2_mm":-10.0,"element_type":"mirror"}]"#.to_owned()
}

/// A user with a copy who was told of all writes at these ticks but its own, and has received what was
/// sent at or before tick `received`.
struct Owner {
    user: UserId,
    told: Told,
    received: u64,
    report: Option<Report>,
}

impl Owner {
    fn of(name: &str, received: u64, writes: &[(u64, &str)]) -> Self {
        let mut told = Told::default();
        told.note(1, Part::Whole, Audience::AllBut(Some("alice".into())), 0);
        for (tick, user) in writes {
            told.note(*tick, Part::Whole, Audience::AllBut(Some((*user).into())), 0);
        }
        let own = writes.iter().chain([&(1, "alice")]).filter(|(_, user)| *user == name);
        let last = own.map(|(tick, _)| *tick).max();
        let report = last.map(|tick| Report { tick, received, refused: Vec::new() });
        Owner { user: name.into(), told, received, report }
    }

    fn copy(&self, kind: CopyKind) -> Copy<'_> {
        let sight = Sight {
            user: &self.user,
            told: &self.told,
            since: 0,
            is_told_since: false,
            received: self.received,
            report: self.report.as_ref(),
        };
        let is_unseen = matches!(kind, CopyKind::Unseen { .. });
        Copy {
            user: &self.user,
            kind,
            colors: [None; 2],
            is_gone: false,
            sight: (!is_unseen).then_some(sight),
        }
    }
}

#[test]
fn only_what_no_earlier_value_explains_is_written() {
    // Bob has set 7 rays at tick 5, and then 9 at tick 6.
    let document =
        document(SOURCE, &[(5, "bob", r#"{"n_rays":7}"#), (6, "bob", r#"{"n_rays":9}"#)]);
    for (who, received, rays, is_written, is_stale, why) in [
        ("alice", 0, 5, false, true, "what she has said last, the news on its way to her"),
        ("alice", 0, 7, false, true, "what is on its way to her"),
        ("alice", 0, 9, false, false, "what the document has"),
        ("alice", 0, 8, true, false, "her own choice"),
        ("alice", 5, 5, true, false, "she has seen 7, and goes back to 5"),
        ("alice", 5, 7, false, true, "what she has seen last"),
        ("alice", 6, 7, true, false, "she has seen 9"),
        ("bob", 0, 7, true, false, "his own, that he has changed since"),
        ("bob", 0, 5, false, true, "as far as is known he may not have seen that it was hers"),
        ("bob", 1, 5, true, false, "he knew it, and changed it himself"),
    ] {
        let said = SOURCE.replace(r#""n_rays":5"#, &format!(r#""n_rays":{rays}"#));
        let expected = if is_written { format!(r#"{{"n_rays":{rays}}}"#) } else { "{}".into() };
        let owner = Owner::of(who, received, &[(5, "bob"), (6, "bob")]);
        let judged = judged(&document, &said, owner.copy(CopyKind::Own));
        assert_eq!(judged, (expected, is_stale), "{who} {received} {rays}: {why}");
    }
}

#[test]
fn a_canvas_from_before_takes_back_nothing_that_others_wrote() {
    let document = document(SOURCE, &[(5, "bob", r#"{"n_rays":7}"#)]);
    let kind = CopyKind::Unseen { was_sent: false };
    for (who, rays, is_written) in
        // Alice's value may have been on its way to Bob when he wrote his own.
        [("alice", 5, false), ("alice", 6, true), ("bob", 5, false), ("bob", 6, true)]
    {
        let said = SOURCE.replace(r#""n_rays":5"#, &format!(r#""n_rays":{rays}"#));
        let judged = judged(&document, &said, Owner::of(who, 9, &[(5, "bob")]).copy(kind));
        assert_eq!(judged.0 != "{}", is_written, "{who} {rays}");
    }
}

#[test]
fn of_a_blank_copy_only_what_is_no_default_counts() {
    let document = document(SOURCE, &[]);
    let blank = r##"{"_type":"source","x_mm":-400.0,"y_mm":0.0,"angle_deg":0.0,"n_rays":9,"color_hex":"#dc143c"}"##;
    let dragged = blank.replace("-400.0", "12.5");
    for (said, expected) in [(blank, "{}"), (&dragged, r#"{"x_mm":12.5}"#)] {
        let bob = Owner::of("bob", 0, &[]);
        let copy = bob.copy(CopyKind::Blank);
        assert_eq!(judged(&document, said, copy), (expected.to_owned(), false), "{said}");
    }
    let bob = Owner::of("bob", 9, &[]);
    let unseen = bob.copy(CopyKind::Unseen { was_sent: true });
    assert_eq!(judged(&document, blank, unseen), ("{}".to_owned(), true));
}

#[test]
fn a_colour_counts_when_its_user_chose_it() {
    let bob = Owner::of("bob", 9, &[]);
    let document = document(SOURCE, &[]);
    let green = json::fingerprint(&json::string("#00ff00"));
    let kinds = [CopyKind::Own, CopyKind::Rebuilt, CopyKind::Unseen { was_sent: true }];
    for (kind, color, reported, is_written) in [
        (kinds[0], "#dc143c", None, true),
        (kinds[1], "#dc143c", None, false),
        (kinds[1], "#DC143C", None, false),
        (kinds[2], "#dc143c", None, false),
        (kinds[1], "#00ff00", None, true),
        (kinds[1], "#00ff00", Some(green), false),
        (kinds[0], "#00ff00", Some(green), false),
        (kinds[0], "#00ffff", Some(green), true),
    ] {
        let said = SOURCE.replace("#0000ff", color);
        let copy = Copy { colors: [reported, None], ..bob.copy(kind) };
        let judged = judged(&document, &said, copy);
        assert_eq!((judged.0 != "{}", judged.1), (is_written, !is_written), "{kind:?} {color}");
    }
}

#[test]
fn a_copy_without_a_picture_stands_elsewhere_and_its_edits_come_back_to_the_right_place() {
    let bob = Owner::of("bob", 9, &[]);
    let document = document(MIRROR, &[]);
    let item = document.get("a").expect("it is there");
    let moved = item.moved_interfaces().expect("it has a picture").get().to_owned();
    assert_eq!(moved, own_moved(), "by the middle of its first interface");
    let own = item.field(INTERFACES).expect("it has some").value.get().to_owned();
    let said = |interfaces: &str| MIRROR.replace(&own, interfaces).replace("\n    ", "");
    let rebuilt = bob.copy(CopyKind::Rebuilt);
    assert_eq!(judged(&document, &said(&moved), rebuilt), ("{}".to_owned(), false));
    let edited = moved.replace(r#""mirror""#, r#""beam_block""#);
    let expected = own.replace(r#""mirror""#, r#""beam_block""#);
    let judged = judged(&document, &said(&edited), rebuilt);
    assert_eq!(judged, (format!(r#"{{"interfaces":{expected}}}"#), false));
}
