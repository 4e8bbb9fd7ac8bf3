// Small parts that every page uses.
import { h, htm, signal, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { clean, connection, now, poke } from "./live.js";

export const html = htm.bind(h);

// -- where we are: everything behind the #, so that the pages work under any prefix --

const plain = (text) => { try { return decodeURIComponent(text); } catch { return text; } };
const read = () => {
	const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
	return { parts: path.split("/").filter(Boolean).map(plain), query: new URLSearchParams(query || "") };
};
export const route = signal(read());
addEventListener("hashchange", () => { route.value = read(); });

// Exactly this run: an id alone is the newest of its ordinals.
export const exactly = (id) => (/#[1-9]\d{0,8}$/.test(id) ? id : id + "#1");

// A value of a filter, whatever it holds.
export const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

export const href = (parts, query = {}) => {
	const values = new URLSearchParams();
	for (const [name, value] of Object.entries(query)) if (value !== "" && value != null && value !== false) values.set(name, value);
	const text = values.toString();
	return "#/" + parts.map(encodeURIComponent).join("/") + (text ? "?" + text : "");
};
export const go = (parts, query) => { location.hash = href(parts, query); route.value = read(); };
export const setQuery = (changes) => {
	const values = { ...Object.fromEntries(route.value.query), ...changes };
	history.replaceState(null, "", href(route.value.parts, values));
	route.value = read();
};

// -- words --

export const num = (number) => number.toLocaleString("en");
export const plural = (number, word, words = word + "s") => `${num(number)} ${number === 1 ? word : words}`;

export function duration(ms) {
	if (ms == null || Number.isNaN(ms)) return "";
	const s = Math.max(0, ms) / 1000;
	if (s < 0.001) return s ? "<1ms" : "0ms";
	if (s < 1) return `${Math.round(s * 1000)}ms`;
	if (s < 60) return `${s.toFixed(1)}s`;
	const whole = Math.round(s);
	const two = (n) => String(n).padStart(2, "0");
	if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
	if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
	return `${Math.floor(whole / 86400)}d ${two(Math.floor((whole % 86400) / 3600))}h`;
}

export const bytes = (n) => {
	if (n < 1024) return `${n} B`;
	const units = ["KB", "MB", "GB", "TB"];
	let at = -1;
	do { n /= 1024; at++; } while (n >= 1024 && at < 3);
	return `${n.toFixed(n < 10 ? 1 : 0)} ${units[at]}`;
};

const full = (time) => new Date(time).toLocaleString("sv-SE", { timeZoneName: "short" });
export const clock = (time) => new Date(time).toLocaleTimeString("sv-SE");

// A word that ticks by itself; only it is drawn again.
export function Ago({ time }) {
	if (!time) return html`<span class="dim">–</span>`;
	const left = now.value - Date.parse(time);
	const s = Math.abs(left) / 1000;
	const text = s < 60 ? `${Math.floor(s)}s` : s < 3600 ? `${Math.floor(s / 60)}m` : s < 86400 ? `${Math.floor(s / 3600)}h` : `${Math.floor(s / 86400)}d`;
	return html`<time datetime=${time} title=${full(time)}>${left < -1000 ? `in ${text}` : s < 1 ? "now" : `${text} ago`}</time>`;
}

export function Took({ from, to }) {
	if (!from) return html`<span class="dim">–</span>`;
	return html`<span>${duration((to ? Date.parse(to) : now.value) - Date.parse(from))}</span>`;
}

// -- status: word, shape and colour each tell it --

const SHAPES = {
	blocked: "■", paused: "‖", running: "●", retrying: "▲", queued: "○", waiting: "◇", sleeping: "◌", completed: "✓", failed: "✕",
	cancelled: "⊘", terminated: "⊗", continued: "→", fired: "✓", exhausted: "✕", damaged: "■", abandoned: "⊘", resolved: "✓",
	rejected: "✕", refused: "✕", received: "↓", accepted: "↓", requested: "⊘", reached: "⊘", later: "◇", intent: "●", patched: "◆",
	open: "●", muted: "◌", done: "✓", stopped: "⊘",
};
export const OPEN = ["blocked", "paused", "running", "retrying", "queued", "waiting", "sleeping"];
export const CLOSED = ["completed", "failed", "cancelled", "terminated", "continued"];
export const isOpen = (status) => OPEN.includes(status);

export const Status = ({ of }) => html`<span class=${"status s-" + of}><span aria-hidden="true" class="shape">${SHAPES[of] || "·"}</span>${of}</span>`;
export const shapeOf = (status) => SHAPES[status] || "·";

// -- things --

export const RunLink = ({ id, query }) => html`<a class="mono run-link" href=${href(["runs", id], query)} title=${id}>${id}</a>`;

// One that sends no form, whatever it stands in.
export const Button = (props) => h("button", { type: "button", ...props });

export function Copy({ text, label = "copy" }) {
	const [said, say] = useState("");
	const copy = async () => {
		try { await navigator.clipboard.writeText(text); say("copied"); } catch { say("not allowed"); }
		setTimeout(() => say(""), 1500);
	};
	return html`<${Button} class="quiet" onClick=${copy} aria-label=${`${label} ${text}`.slice(0, 80)}>${said || label}<//>`;
}

export const Empty = ({ children }) => html`<div class="empty">${children}</div>`;

export const Failure = ({ error }) => error && html`<div class="banner bad" role="alert"><b>${error.code === "not_found" ? "Not found" : "This did not work"}</b> <span>${error.message}</span></div>`;

export const Loading = () => html`<div class="loading" role="status">Loading…</div>`;

export function Tabs({ tabs, current, onPick }) {
	const keys = (event) => {
		const at = tabs.findIndex(([name]) => name === current);
		const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
		if (next == null) return;
		event.preventDefault();
		const [name] = tabs[(next + tabs.length) % tabs.length];
		onPick(name);
		event.currentTarget.querySelector(`[data-tab="${name}"]`)?.focus();
	};
	return html`<div class="tabs" role="tablist" onKeyDown=${keys}>${tabs.map(([name, label, count]) => html`
		<${Button} role="tab" key=${name} data-tab=${name} id=${"tab-" + name} aria-selected=${name === current} aria-controls="panel"
			tabindex=${name === current ? 0 : -1} onClick=${() => onPick(name)}>${label}${count != null && html` <span class="count">${num(count)}</span>`}<//>`)}</div>`;
}

export const Panel = ({ of, children }) => html`<div role="tabpanel" id="panel" aria-labelledby=${"tab-" + of} tabindex="0">${children}</div>`;

// -- dialogs: the browser's own, so that focus and Escape are right --

const shown = signal([]);
export const toasts = signal([]);

export function say(text, kind = "good") {
	const one = { text: clean(String(text)), kind };
	toasts.value = [...toasts.value, one];
	setTimeout(() => { toasts.value = toasts.value.filter((each) => each !== one); }, kind === "bad" ? 12000 : 5000);
}

// `render` gets a function that closes it.
let opened = 0;
export const openDialog = (title, render, isWide = false) => { shown.value = [...shown.value, { key: ++opened, title, render, isWide, hash: location.hash }]; };
// The event comes after the change: a dialog that was opened between the two is the new page's.
addEventListener("hashchange", () => { shown.value = shown.value.filter((one) => one.hash === location.hash); });
const close = (one) => { shown.value = shown.value.filter((each) => each !== one); };
// One that was closed is told of it later: keys that come sooner are not for it.
export const hasDialog = () => shown.value.some((one) => one.element?.open !== false);

function Dialog({ one }) {
	const ref = useRef(), pressed = useRef();  // Text may be dragged over the edge.
	// At once: who types on finds the cursor in it.
	useLayoutEffect(() => {
		const before = document.activeElement;
		one.element = ref.current;
		ref.current.showModal();
		ref.current.querySelector("[autofocus], input:not([type=hidden]), textarea, select, .actions button")?.focus();
		return () => before?.focus?.();
	}, []);
	return html`<dialog ref=${ref} class=${one.isWide ? "wide" : ""} aria-label=${one.title} onClose=${() => close(one)}
		onPointerDown=${(event) => { pressed.current = event.target; }} onClick=${(event) => { if (event.target === ref.current && pressed.current === ref.current) ref.current.close(); }}>
		<div class="dialog-body"><header><h2>${one.title}</h2><${Button} class="quiet" aria-label="Close" onClick=${() => ref.current.close()}>✕<//></header>
		${one.render(() => close(one))}</div></dialog>`;
}

export const Dialogs = () => html`${shown.value.map((one) => html`<${Dialog} key=${one.key} one=${one} />`)}
	<div class="toasts" aria-live="polite">${toasts.value.map((one) => html`<div class=${"toast " + one.kind}>${one.text}</div>`)}</div>`;

// A form that does something and closes; what went wrong is said in it, and nothing is lost.
export function ActForm({ verb, isDanger, onDo, onDone, children, isReady = true }) {
	const [error, setError] = useState(null);
	const [busy, setBusy] = useState(false);
	const send = async (event) => {
		event.preventDefault();
		if (busy || !isReady) return;
		setBusy(true);
		setError(null);
		try { await onDo(); onDone(); } catch (failure) { setError(failure); setBusy(false); poke(); }
	};
	return html`<form onSubmit=${send} class="act">${children}<${Failure} error=${error} />
		<div class="actions"><${Button} onClick=${onDone}>Not now<//>
		<button type="submit" class=${isDanger ? "danger" : "main"} disabled=${busy || !isReady}>${busy ? "…" : verb}</button></div></form>`;
}

export const Field = ({ label, hint, children }) => html`<label class="field"><span class="label">${label}</span>${children}${hint && html`<span class="hint">${hint}</span>`}</label>`;

export const Lost = () => connection.value !== "ok" && html`<div class="banner bad" role="alert">${connection.value === "lost"
	? "The server does not answer; trying again." : "Not let in. Open the address that durable ui wrote, with its token."}</div>`;

// -- rows that are drawn only where they are seen --

export function useWindow(count, rowHeight, ref, extra = 12) {
	const [span, setSpan] = useState([0, 60]);
	useEffect(() => {
		let frame = 0;
		const look = () => {
			frame = 0;
			const box = ref.current?.getBoundingClientRect();
			if (!box) return;
			const first = Math.max(0, Math.floor(-box.top / rowHeight) - extra);
			const last = Math.min(count, Math.ceil((innerHeight - box.top) / rowHeight) + extra);
			setSpan(([a, b]) => (a === first && b === last ? [a, b] : [first, Math.max(last, first)]));
		};
		const soon = () => { frame ||= requestAnimationFrame(look); };
		look();
		addEventListener("scroll", soon, { passive: true, capture: true });
		addEventListener("resize", soon);
		return () => { removeEventListener("scroll", soon, { capture: true }); removeEventListener("resize", soon); cancelAnimationFrame(frame); };
	}, [count, rowHeight]);
	return [Math.min(span[0], Math.max(0, count - 1)), Math.min(count, span[1])];
}
