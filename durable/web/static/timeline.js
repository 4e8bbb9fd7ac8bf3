// The timeline of a run: a row a step, drawn only where it is seen; like steps folded, idle time hidden.
import { useMemo, useRef, useState } from "./vendor/preact.js";
import { now } from "./live.js";
import { Button, duration, html, num, plural, shapeOf, useWindow } from "./parts.js";

const ROW = 26;
const FOLD_MIN = 4;
// A stretch in which nothing ran, this many times as long as it is drawn, is hidden.
const IDLE_PART = 0.04;
const WAITS = new Set(["timer", "signal", "promise", "child", "update"]);

export const msOf = (time) => Date.parse(time);

// Like calls side by side become one row, which opens.
export function rowsOf(steps, opened) {
	const rows = [];
	for (let at = 0; at < steps.length;) {
		const one = steps[at];
		let end = at + 1;
		if (one.kind === "activity" || one.kind === "child") {
			while (end < steps.length && steps[end].kind === one.kind && steps[end].name === one.name) end++;
		}
		const many = steps.slice(at, end);
		if (many.length >= FOLD_MIN) {
			const key = `fold-${one.seq ?? one.step}`;
			const isOpen = opened.has(key);
			rows.push({ key, fold: many, isOpen });
			if (isOpen) for (const each of many) rows.push({ key: each.key, step: each, isInner: true });
		} else for (const each of many) rows.push({ key: each.key, step: each });
		at = end;
	}
	return rows;
}

const beginOf = (step) => msOf(step.started || step.ended);
const endOf = (step, nowMs) => (step.ended ? msOf(step.ended) : nowMs);

// Where a moment is drawn, 0 to 1: straight, or with idle stretches cut short.
function scaleOf(steps, from, to, hideIdle) {
	const span = Math.max(1, to - from);
	if (!hideIdle) return { at: (ms) => (ms - from) / span, gaps: [] };
	const busy = steps.filter((one) => !WAITS.has(one.kind)).map((one) => [beginOf(one), endOf(one, to)]).sort((a, b) => a[0] - b[0]);
	const gaps = [];
	let reached = from;
	for (const [begin, end] of [...busy, [to, to]]) {
		if (begin - reached > span * IDLE_PART) gaps.push([reached, begin]);
		reached = Math.max(reached, end);
	}
	if (!gaps.length) return { at: (ms) => (ms - from) / span, gaps };
	const idle = gaps.reduce((sum, [a, b]) => sum + b - a, 0);
	const drawn = Math.max(1, span - idle);
	const kept = drawn * 0.04 || 1;
	const whole = drawn + gaps.length * kept;
	const at = (ms) => {
		let passed = ms - from;
		let cut = 0;
		for (const [a, b] of gaps) {
			if (ms >= b) { cut += b - a - kept; } else if (ms > a) { cut += (ms - a) * (1 - kept / (b - a)); }
		}
		passed -= cut;
		return passed / whole;
	};
	return { at, gaps };
}

function Bar({ step, attempts, x, nowMs }) {
	const begin = x(beginOf(step)), end = x(endOf(step, nowMs));
	const failed = attempts.map((one, place) => ({ left: x(msOf(one.started)), right: x(msOf(one.ended)), place }));
	return html`<div class=${`tl-bar s-${step.status} k-${step.kind}`} style=${{ left: `${begin * 100}%`, width: `max(3px, ${(end - begin) * 100}%)` }}></div>
		${failed.slice(-30).map((one) => html`<div key=${one.place} class="tl-try" style=${{ left: `${one.left * 100}%`, width: `max(2px, ${(one.right - one.left) * 100}%)` }}></div>`)}`;
}

export function Timeline({ steps, attempts, run, picked, onPick }) {
	const [opened, setOpened] = useState(() => new Set());
	const [hideIdle, setHideIdle] = useState(false);
	const [zoom, setZoom] = useState(null);
	const [drag, setDrag] = useState(null);
	const list = useRef(), focused = useRef("");
	const rows = useMemo(() => rowsOf(steps, opened), [steps, opened]);
	const [first, last] = useWindow(rows.length, ROW, list);
	const nowMs = run.closed ? msOf(run.closed) : now.value;
	const [from, to] = useMemo(() => {
		let low = msOf(run.started || run.created), high = nowMs;
		for (const one of steps) { const begin = beginOf(one); if (begin < low) low = begin; if (one.ended && msOf(one.ended) > high) high = msOf(one.ended); }
		return [low, Math.max(high, low + 1)];
	}, [steps, nowMs, run.started]);
	const [seenFrom, seenTo] = zoom || [from, to];
	const scale = useMemo(() => scaleOf(steps, seenFrom, seenTo, hideIdle && !zoom), [steps, seenFrom, seenTo, hideIdle, zoom]);
	const x = (ms) => Math.min(1.002, Math.max(-0.002, scale.at(ms)));
	const toggle = (key) => { const next = new Set(opened); if (!next.delete(key)) next.add(key); setOpened(next); };

	// Dragging over the axis shows that part alone.
	const place = (event) => { const box = event.currentTarget.getBoundingClientRect(); return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)); };
	const down = (event) => { event.currentTarget.setPointerCapture(event.pointerId); const at = place(event); setDrag([at, at]); };
	const move = (event) => { if (drag) setDrag([drag[0], place(event)]); };
	const up = () => {
		if (!drag) return;
		const [a, b] = [Math.min(...drag), Math.max(...drag)];
		setDrag(null);
		if (b - a > 0.01 && !(hideIdle && !zoom && scale.gaps.length)) setZoom([seenFrom + a * (seenTo - seenFrom), seenFrom + b * (seenTo - seenFrom)]);
	};
	const narrow = (factor) => { if (factor < 1 && seenTo - seenFrom < 2) return; const middle = (seenFrom + seenTo) / 2, half = ((seenTo - seenFrom) / 2) * factor; setZoom(factor > 1 && half * 2 >= to - from ? null : [Math.max(from, middle - half), Math.min(to, middle + half)]); };
	const keys = (event) => {
		const at = rows.findIndex((row) => row.key === (focused.current || picked));
		const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
		if (next == null || next < 0 || next >= rows.length) return;
		event.preventDefault();
		const row = rows[next];
		const box = list.current.getBoundingClientRect();
		const y = box.top + next * ROW;
		if (y < 120 || y > innerHeight - 60) scrollBy(0, y - innerHeight / 2);
		focused.current = row.key;
		if (!row.fold) onPick(row.step, row.key);
		setTimeout(() => { if (focused.current === row.key) list.current?.querySelector(`[data-key="${CSS.escape(row.key)}"]`)?.focus({ preventScroll: true }); }, 30);
	};
	const ticks = [0, 0.25, 0.5, 0.75, 1];
	return html`<div class="timeline">
		<div class="tl-tools"><label class="check"><input type="checkbox" checked=${hideIdle} onChange=${(event) => { setHideIdle(event.target.checked); setZoom(null); }} /> hide idle time</label>
			<span class="grow"></span><${Button} class="quiet" aria-label="Zoom in" onClick=${() => narrow(0.5)}>+<//><${Button} class="quiet" aria-label="Zoom out" onClick=${() => narrow(2)}>−<//>
			<${Button} class="quiet" disabled=${!zoom} onClick=${() => setZoom(null)}>all<//></div>
		<div class="tl-axis"><span class="tl-name dim">${plural(steps.length, "step")}</span>
			<div class="tl-ticks" title="Drag to zoom" onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onDblClick=${() => setZoom(null)}>
				${ticks.map((part) => html`<span key=${part} style=${{ left: `${part * 100}%` }} class=${part === 1 ? "end" : ""}>${hideIdle && !zoom && scale.gaps.length ? (part === 0 ? duration(seenFrom - from) : part === 1 ? duration(seenTo - from) : "") : duration(seenFrom + part * (seenTo - seenFrom) - from)}</span>`)}
				${drag && html`<div class="tl-drag" style=${{ left: `${Math.min(...drag) * 100}%`, width: `${Math.abs(drag[1] - drag[0]) * 100}%` }}></div>`}</div></div>
		<div class="tl-rows" ref=${list} style=${{ height: `${rows.length * ROW}px` }} role="listbox" aria-label="Steps" tabindex=${picked ? -1 : 0} onKeyDown=${keys} onFocusIn=${(event) => { focused.current = event.target.dataset.key; }}>
			${rows.slice(first, last).map((row, offset) => html`<${Row} key=${row.key} row=${row} top=${(first + offset) * ROW} x=${x} nowMs=${nowMs} from=${from} attempts=${attempts} isPicked=${row.key === picked} onPick=${onPick} onToggle=${toggle} gaps=${scale.gaps} />`)}</div></div>`;
}

const NAMES = { timer: "sleep", child: "↳ ", signal: "⌁ ", update: "⇄ ", promise: "◇ ", call: "→ ", patch: "◆ " };
export const nameOf = (step) => (step.kind === "timer" ? "timer" : `${NAMES[step.kind] || ""}${step.name}`);

function Row({ row, top, x, nowMs, attempts, isPicked, onPick, onToggle, gaps }) {
	const hidden = gaps.map(([a, b]) => html`<div key=${a} class="tl-gap" title=${`${duration(b - a)} in which nothing ran`} style=${{ left: `${x(a) * 100}%`, width: `${(x(b) - x(a)) * 100}%` }}></div>`);
	if (row.fold) {
		const counts = {};
		for (const one of row.fold) counts[one.status] = (counts[one.status] || 0) + 1;
		const begin = x(row.fold.reduce((least, one) => Math.min(least, beginOf(one)), Infinity)), end = x(row.fold.reduce((most, one) => Math.max(most, endOf(one, nowMs)), 0));
		const worst = ["failed", "retrying", "exhausted", "running"].find((status) => counts[status]) || row.fold[0].status;
		return html`<div class="tl-row fold" style=${{ top: `${top}px` }} role="option" aria-selected=${isPicked} data-key=${row.key} tabindex="-1" onClick=${() => onToggle(row.key)}
			onKeyDown=${(event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); onToggle(row.key); } }}>
			<span class="tl-name"><span class="clip"><span aria-hidden="true">${row.isOpen ? "▾" : "▸"}</span> ${nameOf(row.fold[0])} <b>×${num(row.fold.length)}</b></span></span>
			<span class="tl-track">${hidden}<div class=${`tl-bar s-${worst}`} style=${{ left: `${begin * 100}%`, width: `max(3px, ${(end - begin) * 100}%)` }}></div>
			<span class=${`tl-text${end > 0.8 ? " before" : ""}`} style=${end > 0.8 ? { right: `${(1.005 - begin) * 100}%` } : { left: `${end * 100}%` }}>${Object.entries(counts).map(([status, count]) => `${count} ${shapeOf(status)}`).join(" ")}<span class="hidden"> ${Object.entries(counts).map(([status, count]) => `${count} ${status}`).join(", ")}</span></span></span></div>`;
	}
	const step = row.step;
	const end = x(endOf(step, nowMs));
	const tries = step.tries > 1 ? ` ×${step.tries}` : "";
	const text = `${step.started || !step.ended ? duration(endOf(step, nowMs) - beginOf(step)) : ""}${tries}`;
	return html`<div class=${`tl-row${row.isInner ? " inner" : ""}`} style=${{ top: `${top}px` }} role="option" aria-selected=${isPicked} data-key=${row.key} tabindex=${isPicked ? 0 : -1} onClick=${() => onPick(step, row.key)}
		aria-label=${`${step.step} ${nameOf(step)} ${step.status} ${text}`}>
		<span class="tl-name"><span class=${`shape s-${step.status}`} aria-hidden="true">${shapeOf(step.status)}</span><span class="tl-step dim mono">${step.step.replace(/^(signal|update):.*/, "")}</span><span class="clip"> ${nameOf(step)}${step.label && html` <span class="dim">${step.label}</span>`}</span></span>
		<span class="tl-track">${hidden}<${Bar} step=${step} attempts=${attempts.get(step.step) || []} x=${x} nowMs=${nowMs} /><span class=${`tl-text${end > 0.88 ? " before" : ""}`} style=${end > 0.88 ? { right: `${(1.005 - x(beginOf(step))) * 100}%` } : { left: `${end * 100}%` }}>${text}</span></span></div>`;
}

