"""The editor's two kinds of items: their fields, what a field is that is left out, and items somebody has worked on."""

import itertools

# The fields of an item's own, in the order they are reported in, and what a blank item has there.
FIELDS = {
    "component": {
        "x_mm": 0.0,
        "y_mm": 0.0,
        "angle_deg": 0.0,
        "object_height_mm": 60.0,
        "mm_per_pixel": 0.1,
        "name": None,
        "image_path": None,
        "reference_line_mm": None,
        "interfaces": [],
        "category": None,
        "notes": None,
    },
    "source": {
        "x_mm": -400.0,
        "y_mm": 0.0,
        "angle_deg": 0.0,
        "size_mm": 10.0,
        "n_rays": 9,
        "ray_length_mm": 1000.0,
        "spread_deg": 0.0,
        "color_hex": "#DC143C",
        "wavelength_nm": 633.0,
        "polarization_type": "horizontal",
        "polarization_angle_deg": 0.0,
        "custom_jones_ex_real": 1.0,
        "custom_jones_ex_imag": 0.0,
        "custom_jones_ey_real": 0.0,
        "custom_jones_ey_imag": 0.0,
        "use_custom_jones": False,
    },
}

LINE = {"x1_mm": 0.0, "y1_mm": 0.0, "x2_mm": 10.0, "y2_mm": 0.0}

# The fields of an interface by its type, beside its line, type and name. All others are dropped.
INTERFACES = {
    "lens": {"efl_mm": 100.0},
    "mirror": {"reflectivity": 100.0},
    "beam_splitter": {"split_T": 50.0, "split_R": 50.0, "is_polarizing": False, "pbs_transmission_axis_deg": 0.0},
    "dichroic": {"cutoff_wavelength_nm": 550.0, "transition_width_nm": 50.0, "pass_type": "longpass"},
    "refractive_interface": {"n1": 1.0, "n2": 1.5, "is_curved": False, "radius_of_curvature_mm": 0.0},
    "polarizing_interface": {
        "polarizer_subtype": "waveplate",
        "phase_shift_deg": 90.0,
        "fast_axis_deg": 0.0,
        "transmission_axis_deg": 0.0,
        "extinction_ratio_db": 40.0,
        "rotation_angle_deg": 45.0,
    },
    "beam_block": {},
}


def interface(data):
    """An interface as an editor reports it that was sent this one."""
    kind = data.get("element_type", "refractive_interface")
    fields = {**LINE, "element_type": kind, "name": "", **INTERFACES.get(kind, {})}
    built = {key: data.get(key, default) for key, default in fields.items()}
    if data.get("is_curved"):
        built |= {"is_curved": data["is_curved"], "radius_of_curvature_mm": data.get("radius_of_curvature_mm", 0.0)}
    return built


_serial = itertools.count(1)


def _item(kind, item_id, fields):
    own = {key: fields.get(key, default) for key, default in FIELDS[kind].items()}
    return {**own, "item_uuid": item_id, "locked": False, "z_value": 0.0, **fields, "_type": kind}


def component(item_id, element_type="lens", x=0.0, y=0.0, picture="", **fields):
    """A component of the library. With a picture its line stands off the picture's middle, as a mirror's does."""
    off = 25.7 if picture else 0.0
    line = {"x1_mm": -off, "y1_mm": 19.2, "x2_mm": -off, "y2_mm": -19.2, "element_type": element_type}
    known = {key: fields.pop(key) for key in [*fields] if key in INTERFACES[element_type]}
    made = {
        "x_mm": x,
        "y_mm": y,
        "object_height_mm": 55.9,
        "mm_per_pixel": 0.0559,
        "name": f"{element_type} {item_id}",
        "image_path": picture,
        "reference_line_mm": [-off, 19.2, -off, -19.2],
        "interfaces": [interface(line | known)],
        "category": f"{element_type}s",
        "notes": "",
    }
    return _item("component", item_id, made | fields)


def source(item_id, x=-400.0, y=0.0, **fields):
    return _item("source", item_id, {"x_mm": x, "y_mm": y, **fields})


PICTURE = "objects/library/mirror_standard_2in/images/standard_mirror_1_inch.png"


def designed(rng, kind=None, **fields):
    """An item somebody has worked on: every property differs from a blank one's. About half a kilobyte."""
    kind = kind or rng.choice(["source", *INTERFACES])
    item_id = "%08x-%04x-4%03x-8%03x-%012x" % tuple(rng.getrandbits(n) for n in (32, 16, 12, 12, 48))
    worked = {
        "angle_deg": rng.choice([45, 90.0, 30.5, 347.75, 1e-3]),
        "z_value": float(rng.randint(1, 9)),
        "serial": 2**53 + 1 + rng.getrandbits(40),
    }
    x, y = rng.uniform(-500, 500), rng.uniform(-500, 500)
    if kind == "source":
        made = source(
            item_id, x, y, size_mm=rng.uniform(1, 9), n_rays=rng.randint(10, 99), ray_length_mm=1500,
            spread_deg=rng.uniform(1, 9), color_hex=f"#{rng.getrandbits(24):06x}", wavelength_nm=rng.uniform(400, 1100),
            polarization_type="linear", polarization_angle_deg=rng.uniform(1, 90), use_custom_jones=True,
        )
    else:
        made = component(
            item_id, kind, x, y, picture=rng.choice(["", PICTURE]), object_height_mm=rng.uniform(5, 50),
            name=f"{kind} {rng.choice(['f=100', 'Ø 25 mm', '50:50 “broad”', 'λ/2 ✓'])} #{next(_serial)}",
            notes="tilt \"this\" one\n\tüber Kopf \u2028 \U0001f52d", mm_per_pixel=rng.uniform(0.01, 0.09),
        )
        for key, value in INTERFACES[kind].items():
            if isinstance(value, float):
                made["interfaces"][0][key] = rng.uniform(1, 49)
        made["interfaces"].append(interface({"element_type": "refractive_interface", "n2": rng.uniform(1.3, 1.9)}))
    return made | worked | fields
