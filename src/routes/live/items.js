// What people call an item. Pure.

const KINDS = { source: "Source", lens: "Lens", mirror: "Mirror", splitter: "Beam splitter", dichroic: "Dichroic", waveplate: "Waveplate", objective: "Objective", background: "Background" };

const PLACE = ["x_mm", "y_mm", "angle_deg"];

const idOf = (item) => [item.uuid, item.item_uuid].find((id) => typeof id === "string");
/** What a component does stands in its category and its interfaces. */
const typeOf = (data) => [data.category, data.interfaces?.[0]?.element_type, data.item_type, data._type, "component"].find(isText).slice(0, 60);

function kindOf(type) {
  if (/split/i.test(type)) return "splitter";
  return Object.keys(KINDS).find((kind) => type.toLowerCase().includes(kind)) ?? "other";
}

/** What people call an item. */
function titleOf(data) {
  const given = [data.name, data.label].find(isText);
  if (given) return given.trim().slice(0, 200);
  const title = KINDS[kindOf(typeOf(data))] ?? typeOf(data);
  const focus = data.interfaces?.[0]?.efl_mm;
  return title === "Lens" && Number.isFinite(focus) ? `Lens f=${focus}` : title;
}

/** A name as it is drawn: on one line, shortened, isolated in its writing direction. */
