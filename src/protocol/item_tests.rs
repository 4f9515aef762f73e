//! The tests of `item.rs`.

use super::*;

/// The normal form of an item as JSON; `None` where it is refused.
fn taken(item: &str) -> Option<String> {
    let fields = Object::parse(item).unwrap();
    let NormalItem { fields, is_changed } = normalise(&fields).ok()?;
    let mut json = Vec::new();
    write_object(&mut json, fields.iter().map(|(key, value)| (&**key, &**value)));
    let taken = String::from_utf8(json).unwrap();
    assert_eq!(is_changed, taken != item, "{item}");
    Some(taken)
}

#[test]
fn what_the_editor_does_not_fail_on_is_taken_as_it_is() {
    for item in [
        "{}",
        r#"{"x_mm":-400.0,"y_mm":0,"angle_deg":-0.0,"locked":"yes","z_value":null,"size_mm":1e999}"#,
        r#"{"_type":"source","n_rays":5,"spread_deg":0,"color_hex":"no colour","ray_length_mm":-1e999}"#,
        r#"{"name":"\ud800","image_path":"\ud800"}"#,
        r#"{"_type":7,"name":null,"category":7,"notes":[],"image_path":null,"interfaces":null}"#,
        r#"{"image_path":"/etc/passwd","mm_per_pixel":"x","reference_line_mm":{},"_x":1,"__x":1}"#,
        r#"{"interfaces":[{"x1_mm":1e999,"efl_mm":1e999,"n2":1e999, "other":"x" }, {}]}"#,
        r#"{"interfaces":[{"is_curved":false,"radius_of_curvature_mm":1e999}]}"#,
        r#"{"interfaces":[{"is_curved":[],"radius_of_curvature_mm":null}]}"#,
        r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":-1.3e154}]}"#,
        r#"{"interfaces":[{"radius_of_curvature_mm":1e999}]}"#,
    ] {
        assert_eq!(taken(item).as_deref(), Some(item));
    }
}

#[test]
fn what_the_editor_has_a_default_for_is_left_out_or_mended() {
    for (item, expected) in [
        (r#"{"angle_deg":1e999,"x_mm":1}"#, r#"{"x_mm":1}"#),
        (r#"{"spread_deg":-1e999}"#, "{}"),
        (r#"{"n_rays":1e999,"a":1.50}"#, r#"{"a":1.50}"#),
        (r#"{"n_rays":5.0}"#, r#"{"n_rays":5}"#),
        (r#"{"n_rays":1e2}"#, r#"{"n_rays":100}"#),
        (r#"{"n_rays":5.5}"#, "{}"),
        (r#"{"n_rays":9007199254740993}"#, r#"{"n_rays":9007199254740993}"#),
        (r#"{"n_rays":90071992547409930}"#, "{}"),
        (r#"{"_type":[],"name":7,"image_path":false,"color_hex":-1}"#, "{}"),
        (r#"{"_type":{},"polarization_type":null,"a":{}}"#, r#"{"a":{}}"#),
        (r#"{"__class__":7,"__dict__":{},"get_polarization":7,"__x":1}"#, r#"{"__x":1}"#),
        (r#"{"interfaces":[{"element_type":[]}]}"#, r#"{"interfaces":[{}]}"#),
        (r#"{"object_height_mm":0}"#, "{}"),
        (r#"{"object_height_mm":-5e-324}"#, "{}"),
        (
            r#"{"interfaces":[{"n2":0.0,"n1" : 1.0}, {"n1" : 2.0}]}"#,
            r#"{"interfaces":[{"n1":1.0}, {"n1" : 2.0}]}"#,
        ),
        (
            r#"{"interfaces":[ {}, {"is_curved":true,"radius_of_curvature_mm":1e999} ]}"#,
            r#"{"interfaces":[ {}, {"is_curved":false,"radius_of_curvature_mm":1e999} ]}"#,
        ),
        (
            r#"{"interfaces":[{"radius_of_curvature_mm":-1e999,"is_curved":1}]}"#,
            r#"{"interfaces":[{"radius_of_curvature_mm":-1e999,"is_curved":false}]}"#,
        ),
        (
            r#"{"interfaces":[{"radius_of_curvature_mm":1.4e154,"is_curved":"yes"}]}"#,
            r#"{"interfaces":[{"radius_of_curvature_mm":1.4e154,"is_curved":false}]}"#,
        ),
    ] {
        assert_eq!(taken(item).as_deref(), Some(expected), "{item}");
        assert_eq!(taken(expected).as_deref(), Some(expected), "{item} twice");
    }
}

#[test]
fn what_the_editor_fails_on_is_not_taken() {
    let numbers = [
        "x_mm",
        "y_mm",
        "angle_deg",
        "z_value",
        "size_mm",
        "n_rays",
        "ray_length_mm",
        "spread_deg",
        "wavelength_nm",
        "polarization_angle_deg",
        "custom_jones_ex_real",
        "custom_jones_ex_imag",
        "custom_jones_ey_real",
        "custom_jones_ey_imag",
        "object_height_mm",
    ];
    for name in numbers {
        for value in [r#""1""#, "null", "true", "[1]", "{}"] {
            if (name, value) != ("z_value", "null") {
                assert_eq!(taken(&format!(r#"{{"{name}":{value}}}"#)), None, "{name}: {value}");
            }
        }
    }
    let numbers_of_interfaces = [
        "x1_mm",
        "y1_mm",
        "x2_mm",
        "y2_mm",
        "efl_mm",
        "reflectivity",
        "split_T",
        "split_R",
        "pbs_transmission_axis_deg",
        "cutoff_wavelength_nm",
        "transition_width_nm",
        "n1",
        "n2",
        "phase_shift_deg",
        "fast_axis_deg",
        "transmission_axis_deg",
        "extinction_ratio_db",
        "rotation_angle_deg",
    ];
    for name in numbers_of_interfaces {
        for value in [r#""1""#, "null", "false", "[1]", "{}"] {
            let item = format!(r#"{{"interfaces":[{{}},{{"{name}":{value}}}]}}"#);
            assert_eq!(taken(&item), None, "{item}");
        }
    }
    for item in [
        r#"{"x_mm":1e999}"#,
        r#"{"y_mm":-1e999}"#,
        r#"{"interfaces":0}"#,
        r#"{"interfaces":""}"#,
        r#"{"interfaces":{}}"#,
        r#"{"interfaces":true}"#,
        r#"{"interfaces":[null]}"#,
        r#"{"interfaces":[[]]}"#,
        r#"{"interfaces":[{"x1_mm":1e200}]}"#,
        r#"{"interfaces":[{"is_curved":true,"radius_of_curvature_mm":null}]}"#,
        r#"{"interfaces":[{"is_curved":{"a":1},"radius_of_curvature_mm":"1"}]}"#,
    ] {
        assert_eq!(taken(item), None, "{item}");
    }
}

#[test]
fn only_paths_inside_the_installation_are_safe() {
    for path in [
        "",
        "a.png",
        "objects/library/lens_1_in/images/a.b..png",
        "@component/achromat/images/lens.png",
        "@library/user_library\\lens\\images\\.hidden.png",
        "~/a.png",
        "ü/ .png",
    ] {
        assert!(is_safe_image_path(path), "{path}");
    }
    for path in [
        "/etc/passwd",
        "\\windows\\a.png",
        "//host/share/a.png",
        "\\\\host\\share\\a.png",
        "..",
        "../a.png",
        "a/../b.png",
        "a\\..\\b.png",
        "a/..",
        "a/.. /b.png",
        "a/.../b.png",
        "@component//etc/passwd",
        "@component/",
        "@library/../../a.png",
        "C:\\a.png",
        "c:a.png",
        "a/b:c.png",
        "http://host/a.png",
        "file:a.png",
        "data:image/png;base64,",
        "a\0.png",
        "a\n.png",
    ] {
        assert!(!is_safe_image_path(path), "{path}");
    }
    for (field, is_unsafe) in [
        (r#""a.png""#, false),
        (r#""a/b_1/@c-d.e.png""#, false),
        (r#""a/.b.png""#, false),
        (r#""a//b.png""#, true),
        (r#""/a.png""#, true),
        (r#""a/b/""#, true),
        (r#""a/..""#, true),
        (r#""""#, false),
        ("null", false),
        (r#""\u002fetc\u002fpasswd""#, true),
        (r#""\ud800""#, true),
    ] {
        let value = RawValue::from_string(field.to_owned()).unwrap();
        assert_eq!(is_unsafe_image_path("image_path", &value), is_unsafe, "{field}");
        assert!(!is_unsafe_image_path("name", &value), "{field}");
    }
}
