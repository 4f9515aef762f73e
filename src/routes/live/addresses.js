// Under which addresses others reach this server and this page. Pure.

/** Whether a host name leads only to the machine that uses it. */
function isLoopback(host) {
  const name = host.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "").toLowerCase();
  return name === "localhost" || name.endsWith(".localhost") || /^127(\.\d+){3}$/.test(name) || /^(::1|::ffff:7f[0-9a-f]{2}:[0-9a-f]+)$/.test(name);
}

/**
 * The addresses to offer to others, the best one first: `socket` is what an editor needs, `page` is this page's. `here` is
 * the page's own address, without what stands behind `?` or `#`. `told` is what the server says of its addresses: a list
 * like `ws://192.168.1.20:8765`. By the loopback nobody else reaches it: such an address is offered where there is no other.
 */
function addressesFor(here, told) {
  const own = { socket: here.href.replace(/^http/, "ws").replace(/\/$/, ""), page: here.href };
  const listed = (Array.isArray(told) ? told : []).slice(0, 20).map((text) => {
    if (typeof text !== "string" || !/^wss?:\/\/[^/]+\/?$/.test(text)) return null;
    const page = text.replace(/^ws/, "http");
    if (!URL.canParse(page)) return null;
    const { href, hostname } = new URL(page);
    return { socket: text.replace(/\/$/, ""), page: href, host: hostname };
  });
  const others = listed.filter((one) => one && !isLoopback(one.host) && one.page !== own.page).map(({ socket, page }) => ({ socket, page }));
  if (isLoopback(here.hostname)) return others.length ? others : [own];
  // Who came through a proxy is at the right address; the server's own may not be open to others.
  return here.protocol === "https:" || here.pathname !== "/" ? [own] : [own, ...others];
}

/**
 * The address of a path of the API. A browser takes a segment `.` or `..` for a folder, however it is written, and asks for
 * another path: `null` then.
 */
function apiAddress(path, here) {
  const { href, pathname } = new URL(`api/${path}`, here);
  return pathname.endsWith(`/api/${path.split("?")[0]}`) ? href : null;
}

// A key by its looks, with what leads up to it: a link may have been encoded on its way, or typed a little wrong.
const KEY = /(?:[#?&;/]|%3f|%26)?(?:(?:k|%6b)ey(?:=|%3d))?ck_[\da-f]{32,}/gi;

/** What stands behind the # without a key. */
function withoutKey(hash) {
  const [place, ...more] = hash.slice(1).split(/[?&]/).filter((part, n) => n === 0 || !part.startsWith("key="));
  const left = `${place.startsWith("key=") ? "" : place}${more.length ? "?" : ""}${more.join("&")}`.replace(KEY, "");
  return left && `#${left}`;
}

/** What stands behind the ? without a key, which has no business there: the server has been sent it. */
function searchWithoutKey(search) {
  const left = search.slice(1).split("&").filter((part) => !part.startsWith("key=")).join("&").replace(KEY, "");
  return left && `?${left}`;
}

/** The key that stands in a part of the address: `#key=ck_…`, `#/session/x?key=ck_…`. */
function keyIn(part) {
  const [, found] = /[#?&]key=([^&]*)/.exec(part) ?? [, /ck_[\da-f]{32,}/i.exec(part)?.[0] ?? ""];
  try {
    return decodeURIComponent(found).replace(/[^!-~]/g, "");
  } catch {
    return "";
  }
}
