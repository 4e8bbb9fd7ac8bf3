// Payloads: hostile text, of any size and depth, shown as a tree, as it is, or on demand.
import { useMemo, useState } from "./vendor/preact.js";
import { Exact, at, asked, clean, getText, parse } from "./live.js";
import { Button, Copy, bytes, html, num } from "./parts.js";

// What the page is sent is cut at 64 KiB; larger ones are asked for, and shown as a tree up to this.
const TREE_CHARACTERS_MAX = 5_000_000;
const TEXT_SHOWN = 2_000;
const CHILDREN_SHOWN = 100;
const OPEN_DEPTH = 2;
const CUT = /\.\.\. \(([\d,]+) bytes\)$/;

export function parsed(text) {
	try { return { value: parse(text) }; } catch { return null; }
}

function Text({ value, quoted = true }) {
	const [shown, show] = useState(TEXT_SHOWN);
	const whole = quoted ? JSON.stringify(value) : value;
	const head = clean(whole.slice(0, shown));
	return html`<span class="j-text">${head}${whole.length > shown && html`<${Button} class="quiet" onClick=${() => show(shown * 10)}>… ${num(whole.length - shown)} more<//>`}</span>`;
}

function Leaf({ value }) {
	if (value instanceof Exact) return html`<span class="j-number">${value.text}</span>`;
	if (typeof value === "string") return html`<${Text} value=${value} />`;
	if (typeof value === "number") return html`<span class="j-number">${String(value)}</span>`;
	return html`<span class="j-word">${String(value)}</span>`;
}

function Node({ value, name, depth }) {
	const isBranch = value !== null && typeof value === "object" && !(value instanceof Exact);
	const keys = isBranch ? Object.keys(value) : [];
	const [open, setOpen] = useState(depth < OPEN_DEPTH && keys.length <= CHILDREN_SHOWN);
	const [shown, show] = useState(CHILDREN_SHOWN);
	const label = name != null && html`<span class="j-key">${clean(String(name)).slice(0, 200)}: </span>`;
	if (!isBranch) return html`<div class="j-line">${label}<${Leaf} value=${value} /></div>`;
	const [left, right] = Array.isArray(value) ? "[]" : "{}";
	if (keys.length === 0) return html`<div class="j-line">${label}${left + right}</div>`;
	return html`<div class="j-branch">
		<${Button} class="j-fold" aria-expanded=${open} onClick=${() => setOpen(!open)}>
			<span class="j-mark" aria-hidden="true">${open ? "▾" : "▸"}</span>${label}${left}${open ? "" : html`<span class="dim"> ${num(keys.length)} </span>${right}`}<//>
		${open && html`<div class="j-inner">${keys.slice(0, shown).map((key) => html`<${Node} key=${key} value=${value[key]} name=${Array.isArray(value) ? null : key} depth=${depth + 1} />`)}
			${keys.length > shown && html`<${Button} class="quiet" onClick=${() => show(shown + 1000)}>${num(keys.length - shown)} more<//>`}</div><div>${right}</div>`}
	</div>`;
}

export const Tree = ({ value }) => html`<div class="tree mono">${html`<${Node} value=${value} depth=${0} />`}</div>`;

// `text` is JSON text as stored, or "<the reason>" if it is damaged; `source` is where the whole of it is.
export function Payload({ text, label, source }) {
	const [whole, setWhole] = useState(null);
	const [error, setError] = useState("");
	const [raw, setRaw] = useState(false);
	const shown = whole ?? text;
	const cut = whole == null && CUT.exec(text || "");
	const found = useMemo(() => (shown && !cut && shown.length <= TREE_CHARACTERS_MAX ? parsed(shown) : null), [shown, cut]);
	if (!text) return html`<div class="payload"><span class="label">${label}</span><span class="dim">–</span></div>`;
	const load = async () => {
		try { setWhole(await getText(source)); } catch (failure) { setError(failure.message); }
	};
	const size = cut ? Number(cut[1].replaceAll(",", "")) : shown.length;
	const isTree = found && !raw;
	return html`<div class="payload"><div class="payload-head"><span class="label">${label}</span><span class="dim">${bytes(size)}</span>
		${cut && source && html`<${Button} class="quiet" onClick=${load}>load ${bytes(size)}<//>`}
		${found && typeof found.value === "object" && found.value && html`<${Button} class="quiet" onClick=${() => setRaw(!raw)}>${raw ? "tree" : "text"}<//>`}
		${!cut && html`<${Copy} text=${shown} label="copy" />`}
		${source && html`<a class="quiet" href=${"api/v1/" + source} download="payload.json">download</a>`}</div>
		${error && html`<div class="bad-text" role="alert">${error}</div>`}
		${isTree ? html`<${Tree} value=${found.value} />` : html`<pre class="mono wrap"><${Text} value=${shown} quoted=${false} /></pre>`}</div>`;
}

export const payloadOf = (id, of, seq) => asked(`runs/${at(id)}/payload`, { of, seq });
