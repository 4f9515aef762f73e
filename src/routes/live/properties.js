// The properties of items in words, with their units. Pure.

/** What people call a field, and its unit; in the order in which they are listed. */
const PROPERTIES = {
  name: ["name"], label: ["label"], category: ["category"], x_mm: ["x", "mm"], y_mm: ["y", "mm"], angle_deg: ["angle", "°"], locked: ["locked"],
  element_type: ["element"], polarizer_subtype: ["kind"], efl_mm: ["focal length", "mm"], reflectivity: ["reflectivity", "%"],
  split_T: ["transmission", "%"], split_R: ["reflection", "%"], is_polarizing: ["polarising"],
  pbs_transmission_axis_deg: ["transmission axis", "°"], transmission_axis_deg: ["transmission axis", "°"],
  pass_type: ["lets through"], cutoff_wavelength_nm: ["cut-off wavelength", "nm"], transition_width_nm: ["transition width", "nm"],
  phase_shift_deg: ["phase shift", "°"], fast_axis_deg: ["fast axis", "°"], rotation_angle_deg: ["rotation", "°"],
  extinction_ratio_db: ["extinction ratio", "dB"], n1: ["refractive index n1"], n2: ["refractive index n2"],
  is_curved: ["curved"], radius_of_curvature_mm: ["radius of curvature", "mm"],
  wavelength_nm: ["wavelength", "nm"], color_hex: ["colour"], n_rays: ["rays"], size_mm: ["size", "mm"], spread_deg: ["spread", "°"],
  ray_length_mm: ["ray length", "mm"], polarization_type: ["polarisation"], polarization_angle_deg: ["polarisation angle", "°"],
  use_custom_jones: ["own Jones vector"], custom_jones_ex_real: ["Jones vector Ex, real"], custom_jones_ex_imag: ["Jones vector Ex, imaginary"],
  custom_jones_ey_real: ["Jones vector Ey, real"], custom_jones_ey_imag: ["Jones vector Ey, imaginary"],
  object_height_mm: ["height", "mm"], mm_per_pixel: ["scale of the picture", "mm a pixel"], reference_line_mm: ["reference line", "mm"],
  image_path: ["picture"], notes: ["notes"], z_value: ["layer"], length: ["interfaces"],
  x1_mm: ["first end x", "mm"], y1_mm: ["first end y", "mm"], x2_mm: ["second end x", "mm"], y2_mm: ["second end y", "mm"],
};
const ELEMENTS = { polarizing_interface: "polarising element", refractive_interface: "refracting surface" };
const ENDS = ["x1_mm", "y1_mm", "x2_mm", "y2_mm"];
const RANKS = new Map(Object.keys(PROPERTIES).map((field, rank) => [field, rank]));
const LONGEST_LABEL = 60; // characters of a field that isn't known here
const LONGEST_VALUE = 40; // characters; a longer value isn't shown in a line

/** `interfaces[1].efl_mm` in its parts: which interface, and the field's own name. */
function fieldParts(field) {
  const [, n, own] = /^interfaces(?:\[(\d+)\])?\.(.+)$/s.exec(field) ?? [, undefined, field];
  return { n: n === undefined ? -1 : Number(n), own };
}

/** What people call a field. The first interface needs no number. */
function labelOf(field) {
  const { n, own } = fieldParts(field);
  const label = Object.hasOwn(PROPERTIES, own) ? PROPERTIES[own][0] : own.slice(0, LONGEST_LABEL);
  return n > 0 ? `interface ${n + 1}: ${label}` : label;
}

function unitOf(field) {
  const { own } = fieldParts(field);
  return (Object.hasOwn(PROPERTIES, own) && PROPERTIES[own][1]) || "";
}

const withUnit = (text, unit) => (unit ? text + (unit === "°" ? "" : " ") + unit : text);

/** A value without its unit. */
function plainValue(value, quoted = true) {
  if (typeof value === "number") return Number.isFinite(value) ? `${+value.toPrecision(7)}` : `${value < 0 ? "−" : ""}∞`;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || value === undefined || value === "") return "none";
  if (typeof value === "string") return quoted ? `“${value}”` : value;
  if (Array.isArray(value) && value.every(Number.isFinite)) return value.map((n) => plainValue(n)).join(", ");
  return JSON.stringify(value);
}

/** A value as it is listed, at most 300 characters of it. */
function valueOf(field, value) {
  if (fieldParts(field).own === "element_type" && typeof value === "string") return (Object.hasOwn(ELEMENTS, value) ? ELEMENTS[value] : value.replaceAll("_", " ")).slice(0, 300);
  const text = plainValue(value, false);
  return withUnit(text.length > 300 ? `${text.slice(0, 299)}…` : text, typeof value === "number" || Array.isArray(value) ? unitOf(field) : "");
}

/** Whether an item is what is searched for: each word stands in its name, its kind or its id. */
function isFound(words, { id, title, data }) {
  if (!words.length) return true;
  const text = `${title}\n${kindInWords(data)}\n${id}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
const wordsOf = (search) => search.toLowerCase().split(/\s+/).filter(Boolean);
const kindInWords = (data) => KINDS[kindOf(typeOf(data))] ?? typeOf(data);

/** The order in which fields are listed and told: as in PROPERTIES, then by name. */
function byRank(a, b) {
  const [one, other] = [fieldParts(a), fieldParts(b)];
  const rank = ({ own }) => RANKS.get(own) ?? 999;
  return rank(one) - rank(other) || one.n - other.n || (a < b ? -1 : a > b ? 1 : 0);
}

/** What an item's panel lists: groups of [label, value], the item's own first, then one for each interface (the first 50). */
function listed(data) {
  const own = ["name", "category", "interfaces", "uuid", "item_uuid", "item_type", "_type", ...PLACE, "locked"];
  const lines = (object, left, prefix = "") => {
    const isEmpty = (field) => object[field] === null || object[field] === "";
    const fields = Object.keys(object).filter((field) => !left.includes(field) && !isEmpty(field)).sort(byRank).slice(0, 100);
    return fields.map((field) => [labelOf(field), valueOf(field, object[field])]);
  };
  const groups = [{ title: "", lines: lines(data, own) }];
  const interfaces = Array.isArray(data.interfaces) ? data.interfaces.slice(0, 50) : [];
  interfaces.forEach((each, n) => {
    if (typeof each !== "object" || each === null) return;
    const title = `${interfaces.length > 1 ? `Interface ${n + 1}: ` : ""}${valueOf("element_type", each.element_type ?? "interface")}`;
    const inside = lines(each, ["element_type", ...ENDS]);
    if (ENDS.every((end) => Number.isFinite(each[end]))) {
      const [x1, y1, x2, y2] = ENDS.map((end) => plainValue(each[end]));
      inside.push(["from, to", `(${x1}, ${y1}), (${x2}, ${y2}) mm`], ["length", `${plainValue(+Math.hypot(x2 - x1, y2 - y1).toPrecision(4))} mm`]);
    }
    groups.push({ title, lines: inside });
  });
  return groups.filter((group) => group.lines.length || group.title);
}
