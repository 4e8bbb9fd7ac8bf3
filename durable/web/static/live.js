// Talks to the API: looks that keep themselves fresh, and acts.
import { signal, useEffect, useState } from "./vendor/preact.js";

const BASE = "api/v1/";
const POLL_MS = 1000;
const IDLE_POLL_MS = 5000;
const IDLE_AFTER_MS = 60000;
const BACKOFF_MAX_MS = 15000;
// A server that does not answer is lost; some looks may take their time.
const ANSWER_MS = 20000;
const SLOW_MS = 65000;
const SLOW = /^(doctor|check)|\/(compare|stack|promise)/;
// Of looks nobody watches any more so many are kept: going back shows them at once.
const KEPT_MAX = 40;

export const connection = signal("ok"); // ok, lost or refused
export const paused = signal(false);
export const now = signal(Date.now());
// How far the clock of this machine is from that of the file's; both may be anywhere.
let skewMs = 0;
setInterval(() => { if (!document.hidden) now.value = Date.now() + skewMs; }, 1000);

let lastSeen = Date.now();
for (const kind of ["pointermove", "keydown", "wheel", "touchstart"]) {
	addEventListener(kind, () => { lastSeen = Date.now(); }, { passive: true });
}

export class Problem extends Error {
	constructor(status, body) {
		super(body.detail || `the answer was ${status}`);
		this.status = status;
		this.code = body.code || "";
		this.position = body.position;
	}
}

// What would write backwards, or not be seen, is written out. Inside JSON text that is the same text.
const HIDDEN = /[\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
const escape = (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0");

export const clean = (text) =>
	text.replace(/[\u0000-\u0008\u000b-\u001f]/g, escape).replace(HIDDEN, escape);

// The same for a whole answer, before it is parsed: there control characters are escapes already.
function decoded(text) {
	const shown = text
		.replace(HIDDEN, (one) => "\\" + escape(one))
		.replace(/\\\\|\\u00(?:0[0-8bcef]|1[0-9a-f]|7f|[89][0-9a-f])|\\[bfr]/gi, (one) =>
			one === "\\\\" ? one
			: one === "\\b" ? "\\\\u0008" : one === "\\f" ? "\\\\u000c" : one === "\\r" ? "\\\\r" : "\\" + one);
	return JSON.parse(shown, exact);
}

// A number that JavaScript cannot hold stays as it is written.
export class Exact {
	constructor(text) { this.text = text; }
	toString() { return this.text; }
	toJSON() { return JSON.rawJSON(this.text); }
}
const isHuge = (value, context) => typeof value === "number" && context?.source && JSON.rawJSON && String(value) !== context.source;
const exact = (_, value, context) => (isHuge(value, context) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context.source) ? new Exact(context.source) : value);
// Of what people write nothing changes: 1.0 is not 1.
export const parse = (text) => JSON.parse(text, (_, value, context) => (isHuge(value, context) ? new Exact(context.source) : value));

export const at = (...parts) => parts.map(encodeURIComponent).join("/");

export const asked = (path, values) => {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries(values)) {
		if (value !== "" && value != null) query.set(name, value);
	}
	const text = query.toString();
	return text ? `${path}?${text}` : path;
};

async function problemOf(answer) {
	let body = {};
	try { body = decoded(await answer.text()); } catch { /* it is none of ours */ }
	if (answer.status === 401 || answer.status === 403 && body.code !== "read_only") connection.value = "refused";
	return new Problem(answer.status, body);
}

export async function get(path) {
	const answer = await fetch(BASE + path, { cache: "no-store" });
	if (!answer.ok) throw await problemOf(answer);
	return decoded(await answer.text());
}

export async function getText(path) {
	const answer = await fetch(BASE + path, { cache: "no-store" });
	if (!answer.ok) throw await problemOf(answer);
	return await answer.text();
}

// -- looks that keep fresh --

const looks = new Map();

class Look {
	constructor(path) {
		this.path = path;
		this.tag = "";
		this.state = { data: null, error: null };
		this.watchers = new Map();  // How often each wants to know; 0: once.
		this.timer = 0;
		this.isAsking = false;
		this.failures = 0;
	}

	watch(watcher, everyMs) {
		this.watchers.set(watcher, everyMs);
		if (this.watchers.size === 1) this.ask();
	}

	unwatch(watcher) {
		this.watchers.delete(watcher);
		if (this.watchers.size === 0) clearTimeout(this.timer);
		for (const [path, look] of looks) {
			if (looks.size <= KEPT_MAX) break;
			if (look.watchers.size === 0) looks.delete(path);
		}
	}

	tell(state) {
		this.state = state;
		for (const watcher of [...this.watchers.keys()]) watcher(state);
	}

	async ask() {
		clearTimeout(this.timer);
		if (this.isAsking) { this.isStale = true; return; }
		this.isAsking = true;
		this.isStale = false;
		try {
			const answer = await fetch(BASE + this.path, {
				cache: "no-store", headers: this.tag ? { "if-none-match": this.tag } : {},
				signal: AbortSignal.timeout(SLOW.test(this.path) ? SLOW_MS : ANSWER_MS),
			});
			const date = Date.parse(answer.headers.get("date") || "");
			if (date) skewMs = Math.abs(date - Date.now()) > 5000 ? date - Date.now() : 0;
			this.failures = 0;
			if (answer.status === 200) {
				const data = decoded(await answer.text());
				this.tag = answer.headers.get("etag") || "";
				this.tell({ data, error: null });
				connection.value = "ok";
			} else if (answer.status === 304) {
				connection.value = "ok";
				if (this.state.error) this.tell({ data: this.state.data, error: null });
			} else {
				this.tag = "";
				const problem = await problemOf(answer);
				if (answer.status >= 500) this.failures++;
				this.tell({ data: this.state.data, error: problem });
			}
		} catch {
			this.failures++;
			connection.value = "lost";
		}
		this.isAsking = false;
		this.wait();
	}

	wait() {
		if (this.watchers.size === 0) return;
		if (this.isStale) { this.ask(); return; }
		const every = [...this.watchers.values()].filter(Boolean);
		if (!every.length && !this.failures) return;
		const everyMs = every.length ? Math.min(...every) : POLL_MS;
		const idle = Date.now() - lastSeen > IDLE_AFTER_MS ? IDLE_POLL_MS / POLL_MS : 1;
		const delay = Math.min(everyMs * idle * 2 ** this.failures, Math.max(BACKOFF_MAX_MS, everyMs));
		this.timer = setTimeout(() => {
			if (document.hidden || paused.value) this.wait(); else this.ask();
		}, delay);
	}
}

// Ask again now: something was done here, or the page is seen again.
export function poke() {
	for (const look of looks.values()) if (look.watchers.size) look.ask();
}
document.addEventListener("visibilitychange", () => { if (!document.hidden) poke(); });
paused.subscribe((is) => { if (!is) poke(); });

export function useLook(path, everyMs = POLL_MS) {
	const [, tell] = useState(null);
	useEffect(() => {
		if (path == null) return undefined;
		let look = looks.get(path);
		if (!look) looks.set(path, (look = new Look(path)));
		const watcher = () => tell({});
		look.watch(watcher, everyMs);
		tell({});
		return () => look.unwatch(watcher);
	}, [path, everyMs]);
	return (path != null && looks.get(path)?.state) || { data: null, error: null };
}

// What is said of the file and of this service.
export const useMeta = () => useLook("meta", 5000).data;

// -- acts --

// What had no answer may be done: asked once more, it is the same act, and not done twice.
const unanswered = new Map();
const UNANSWERED_MAX = 50;

export async function post(path, body = {}) {
	const said = typeof body === "string" ? body : JSON.stringify(body);
	const act = path + said;
	const key = unanswered.get(act) || crypto.randomUUID?.() || String(Math.random());
	if (unanswered.size >= UNANSWERED_MAX) unanswered.delete(unanswered.keys().next().value);
	unanswered.set(act, key);
	const answer = await fetch(BASE + path, { method: "POST", headers: { "content-type": "application/json", "idempotency-key": key }, body: said });
	if (answer.status < 502) unanswered.delete(act);
	if (!answer.ok) throw await problemOf(answer);
	const found = decoded(await answer.text());
	poke();
	return found;
}
