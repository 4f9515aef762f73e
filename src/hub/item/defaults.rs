//! The values that an editor takes for fields that it was not sent. A copy that was built from an `add_item`
//! shows them until the first `update_item` with the item's whole data.

use serde_json::value::RawValue;

use super::{IMAGE_PATH, INTERFACES, Item, PLACE};
use crate::protocol::json::{self, Fields, Name};

/// The values of a component.
const COMPONENT_DEFAULTS: [(&str, &str); 13] = [
    ("x_mm", "0"),
    ("y_mm", "0"),
    ("angle_deg", "0"),
    ("object_height_mm", "60"),
    ("mm_per_pixel", "0.1"),
    ("name", "null"),
    ("image_path", "null"),
    ("reference_line_mm", "null"),
    ("interfaces", "[]"),
    ("category", "null"),
    ("notes", "null"),
    ("locked", "false"),
    ("z_value", "0"),
];
/// The values of a source.
const SOURCE_DEFAULTS: [(&str, &str); 18] = [
    ("x_mm", "-400"),
    ("y_mm", "0"),
    ("angle_deg", "0"),
    ("size_mm", "10"),
    ("n_rays", "9"),
    ("ray_length_mm", "1000"),
    ("spread_deg", "0"),
    ("color_hex", "\"#dc143c\""),
    ("wavelength_nm", "633"),
    ("polarization_type", "\"horizontal\""),
    ("polarization_angle_deg", "0"),
    ("custom_jones_ex_real", "1"),
    ("custom_jones_ex_imag", "0"),
    ("custom_jones_ey_real", "0"),
    ("custom_jones_ey_imag", "0"),
    ("use_custom_jones", "false"),
    ("locked", "false"),
    ("z_value", "0"),
];

/// The value that an editor takes for a field that it was not sent; `None` where it takes none.
pub fn default_of(item: &Item, key: &str) -> Option<&'static RawValue> {
    let named = |defaults: &[(&str, &'static str)]| {
        let default = defaults.iter().find(|(name, _)| *name == key);
        default.map(|(_, text)| *text)
    };
    let (of_source, of_component) = (named(&SOURCE_DEFAULTS), named(&COMPONENT_DEFAULTS));
    // The item's type is looked for only where the name is one of these few.
    let text = match of_source.or(of_component)? {
        _ if item.item_type().get() == "\"source\"" => of_source?,
        _ => of_component?,
    };
    let text = if text == "0" && key == "z_value" && is_background(item) { "-10" } else { text };
    serde_json::from_str(text).ok()
}

/// The fingerprint of [`default_of`].
pub fn default_print(item: &Item, key: &str) -> Option<u64> {
    Some(json::fingerprint(default_of(item, key)?))
}

/// Whether a value is the one that an editor takes for a field that it was not sent.
pub fn is_default(item: &Item, key: &str, value: &RawValue) -> bool {
    default_of(item, key).is_some_and(|default| json::same_value(default, value))
}

/// Whether a value is one of a blank copy. A blank copy has no picture yet, so its editor doesn't put it behind
/// everything else, as [`default_of`] says of a background.
pub fn is_blank_default(item: &Item, key: &str, value: &RawValue) -> bool {
    is_default(item, key, value) || (key == "z_value" && json::as_number(value) == Some(0.0))
}

/// Whether editors put an item behind everything else: a component with a picture and without interfaces.
fn is_background(item: &Item) -> bool {
    let picture = item.field(IMAGE_PATH).filter(|_| !item.hides_path());
    let picture = picture.and_then(|path| json::as_string(&path.value));
    let interfaces = item.field(INTERFACES).map_or("[]", |interfaces| interfaces.value.get());
    picture.is_some_and(|path| !path.is_empty()) && interfaces == "[]"
}

/// Whether a copy's place is one that its user has dragged it to, not the one where editors build new copies.
fn is_place_chosen(item: &Item, key: &str, value: &RawValue) -> bool {
    PLACE.contains(&key) && !is_default(item, key, value)
}

/// Whether an item is at the place where editors build new copies.
pub fn is_at_default_place(item: &Item) -> bool {
    let is_there =
        |key: &&str| item.field(key).is_none_or(|field| !is_place_chosen(item, key, &field.value));
    PLACE.iter().all(is_there)
}

/// Whether a copy of a canvas that is seen for the first time looks like a new one of an editor: it is at the
/// place of new copies, and has no interfaces although the item has some.
pub fn looks_blank(item: &Item, said: &Fields) -> bool {
    let is_default = |(key, value): &(Name, Box<RawValue>)| match &**key {
        key if PLACE.contains(&key) => !is_place_chosen(item, key, value),
        INTERFACES => value.get() == "[]" || item.field(INTERFACES).is_none(),
        _ => true,
    };
    !is_at_default_place(item) && said.iter().all(is_default)
}
