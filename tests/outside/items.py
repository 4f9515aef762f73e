"""The things on an optical table as the editor keeps them: blank ones, and ones somebody has worked on."""

import itertools

# An item straight out of its constructor, before any property has been set.
BLANK = {
    "name": "",
    "x_mm": 0.0,
    "y_mm": 0.0,
    "angle_deg": 0.0,
    "z_value": 0.0,
    "locked": False,
    "object_height_mm": 60.0,
    "mm_per_pixel": 0.1,
    "image_path": None,
    "line_px": None,
    "efl_mm": 100.0,
    "wavelength_nm": 633.0,
    "ray_count": 9,
    "spread_deg": 0.0,
    "polarization": "horizontal",
    "color": "#DC143C",
    "split_R": 50.0,
    "notes": "",
    "serial": 0,
    "interfaces": [],
}
TYPES = ("lens", "mirror", "source", "beamsplitter", "waveplate")

_serial = itertools.count(1)


def blank(item_type, item_id):
    return {"item_type": item_type, "_type": item_type, "item_uuid": item_id, **BLANK}


def designed(rng, item_type=None):
    """An item somebody has worked on: every property differs from a blank one's. About half a kilobyte."""
    item_type = item_type or rng.choice(TYPES)
    item_id = "%08x-%04x-4%03x-8%03x-%012x" % tuple(rng.getrandbits(n) for n in (32, 16, 12, 12, 48))
    return blank(item_type, item_id) | {
        "name": f"{item_type} {rng.choice(['f=100', 'Ø 25 mm', '50:50 “broad”', 'λ/2 ✓'])} #{next(_serial)}",
        "x_mm": rng.uniform(-500, 500),
        "y_mm": rng.randint(-500, 500),
        "angle_deg": rng.choice([45, 90.0, 30.5, -12.25, 1e-3]),
        "z_value": rng.randint(1, 9),
        "locked": True,
        "object_height_mm": rng.uniform(5, 50),
        "mm_per_pixel": rng.uniform(0.01, 0.09),
        "image_path": "@asset/lens 1\\in.png",
        "line_px": [rng.randint(0, 500), 1, 2.5, rng.uniform(3, 4)],
        "efl_mm": rng.choice([-75, 25.4, 1e5]),
        "wavelength_nm": rng.uniform(400, 1100),
        "ray_count": rng.randint(10, 99),
        "spread_deg": rng.uniform(1, 9),
        "polarization": "circular right",
        "color": f"#{rng.getrandbits(24):06x}",
        "split_R": rng.uniform(1, 49),
        "notes": "tilt \"this\" one\n\tüber Kopf \u2028 \U0001f52d",
        "serial": 2**53 + 1 + rng.getrandbits(40),
        "interfaces": [{"n1": 1, "n2": rng.uniform(1.3, 1.9), "coating": None}],
    }
