// The list of runs: a filter, counts, a table, and what can be done to many.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { asked, useLook, useMeta } from "./live.js";
import { Ago, Button, CLOSED, Empty, Failure, Loading, OPEN, RunLink, Status, Took, exactly, go, href, html, num, openDialog, plural, quoted, route, setQuery } from "./parts.js";
import { VERBS, actOnMany, actOnRun, bulkVerbs, verbsFor } from "./acts.js";

const PAGE = 100;
const COLUMNS = { workflow: "Workflow", started: "Started", took: "Took", why: "Waits for / error", created: "Created", finished: "Finished", wakes: "Wakes", tags: "Tags", cause: "Cause" };
const SORTS = ["created", "started", "finished", "wakes", "took"];
const USUAL = ["workflow", "started", "took", "why"];
const VIEWS_KEY = "durable.views";
const COLUMNS_KEY = "durable.columns";

const kept = (key, otherwise) => { try { return JSON.parse(localStorage.getItem(key)) ?? otherwise; } catch { return otherwise; } };
const keep = (key, value) => { try { localStorage.setItem(key, JSON.stringify(value)); } catch { /* a private window keeps nothing */ } };

// -- the filter box --

function completions(text, place, language) {
	if (!language) return { from: place, items: [] };
	const head = text.slice(0, place);
	const from = head.search(/[^\s()]*$/);
	const word = head.slice(from).replace(/^-/, "");
	const offset = place - word.length;
	const colon = word.indexOf(":");
	if (colon < 0) {
		const items = Object.entries(language.fields).filter(([name]) => name.startsWith(word)).map(([name, one]) => ({ text: name + ":", about: one.text }));
		return { from: offset, items: word ? items : [] };
	}
	const field = word.slice(0, colon);
	const last = word.slice(colon + 1).split(",").pop();
	const values = { status: ["open", "closed", ...language.statuses], started: ["<1h", "<1d", "<7d", "today"], created: ["<1h", "<1d", "<7d", "today"], finished: ["<1h", "<1d", "today"],
		took: [">1m", ">5m", ">1h"], cause: ["started", "restarted", "retried", "continued"], superseded: ["any", "yes", "no"], workflow: language.workflows || [] }[field] || [];
	return { from: place - last.length, items: values.filter((one) => one.startsWith(last) && one !== last).map((text) => ({ text, about: "" })) };
}

function FilterBox({ query, language, error }) {
	const [text, setText] = useState(query);
	const [picked, setPicked] = useState(-1);
	const [focused, setFocused] = useState(false);
	const input = useRef();
	useEffect(() => setText(query), [query]);
	const { from, items } = focused ? completions(text, input.current?.selectionStart ?? text.length, language) : { from: 0, items: [] };
	const shown = items.slice(0, 12);
	const apply = (next) => { setPicked(-1); go([], { ...Object.fromEntries(route.value.query), q: next.trim(), before: "" }); };
	const take = (one) => {
		const place = input.current.selectionStart;
		const next = text.slice(0, from) + one.text + (one.text.endsWith(":") ? "" : " ") + text.slice(place);
		const end = next.length - text.length + place;
		input.current.value = next;  // At once: who types on finds the cursor there.
		input.current.focus();
		input.current.setSelectionRange(end, end);
		setText(next);
		setPicked(-1);
	};
	const keys = (event) => {
		if (shown.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
			event.preventDefault();
			const turns = shown.length + 1;  // One more: none of them.
			setPicked(((picked + 1 + (event.key === "ArrowDown" ? 1 : -1) + turns) % turns) - 1);
		} else if (shown.length && (event.key === "Tab" || (event.key === "Enter" && picked >= 0))) {
			event.preventDefault();
			take(shown[Math.max(0, picked)]);
		} else if (event.key === "Enter") { event.preventDefault(); setFocused(false); apply(text); }
		else if (event.key === "Escape") { if (shown.length) setFocused(false); else { setText(query); input.current.blur(); } }
	};
	return html`<div class="filter"><form role="search" onSubmit=${(event) => { event.preventDefault(); apply(text); }}>
		<input id="filter" ref=${input} type="search" role="combobox" aria-label="Filter runs" aria-expanded=${shown.length > 0} aria-controls="completions" aria-autocomplete="list"
			aria-activedescendant=${picked >= 0 ? "completion-" + picked : undefined} aria-invalid=${!!error} aria-describedby=${error ? "filter-error" : undefined}
			placeholder="status:failed workflow:order.* error:timeout started:<2h      press / to type here" autocomplete="off" spellcheck=${false} value=${text}
			onInput=${(event) => { setText(event.target.value); setFocused(true); setPicked(-1); if (event.target.value === "" && query) apply(""); }}
			onFocus=${() => setFocused(true)} onBlur=${() => setTimeout(() => setFocused(false), 150)} onKeyDown=${keys} /></form>
		${shown.length > 0 && html`<ul id="completions" role="listbox" aria-label="Completions">${shown.map((one, at) => html`
			<li role="option" id=${"completion-" + at} key=${one.text} aria-selected=${at === picked} onMouseDown=${(event) => { event.preventDefault(); take(one); }}><b class="mono">${one.text}</b> <span class="dim">${one.about}</span></li>`)}</ul>`}
		${error && html`<div id="filter-error" class="filter-error" role="alert">${error.position != null && html`<pre class="mono" aria-hidden="true">${query}\n${" ".repeat(error.position)}^</pre>`}${error.message}</div>`}</div>`;
}

// -- counts --

// The status part of a filter is what the chips set; the rest of it stays.
// Inside quotes, parentheses or an "or" it is no such term.
function termsOf(query) {
	const words = query.match(/(?:"(?:\\.|[^"])*"?|\((?:[^()"]|"[^"]*"|\([^()]*\))*\)?|[^\s"(])+/g) || [];
	const hasOr = words.some((word) => word.toLowerCase() === "or");
	const place = hasOr ? -1 : words.findIndex((word) => /^status:[a-z,]+$/.test(word));
	const rest = place < 0 ? query.trim() : words.filter((_, at) => at !== place).join(" ");
	return { statuses: place < 0 ? [] : words[place].slice(7).split(",").filter(Boolean), rest, hasOr };
}

function Chips({ query, counts }) {
	const { statuses: current, rest, hasOr } = termsOf(query);
	const pick = (status, event) => {
		let next = status ? [status] : [];
		if (status && (event.shiftKey || event.ctrlKey || event.metaKey)) next = current.includes(status) ? current.filter((one) => one !== status) : [...current, status];
		else if (status && current.length === 1 && current[0] === status) next = [];
		go([], { ...Object.fromEntries(route.value.query), q: [next.length ? `status:${next.join(",")}` : "", next.length && hasOr ? `(${rest})` : rest].filter(Boolean).join(" "), before: "" });
	};
	const total = counts ? Object.values(counts.counts).reduce((sum, one) => sum + one, 0) : null;
	return html`<div class="chips" role="group" aria-label="Runs by status; with Shift several">
		<${Button} class="chip" aria-pressed=${current.length === 0} onClick=${(event) => pick("", event)}>all <b>${total?.toLocaleString("en") ?? "…"}</b><//>
		${[...OPEN, ...CLOSED].filter((status) => counts?.counts[status] || current.includes(status)).map((status) => html`
			<${Button} key=${status} class="chip" aria-pressed=${current.includes(status)} onClick=${(event) => pick(status, event)}><${Status} of=${status} /> <b>${num(counts?.counts[status] || 0)}</b><//>`)}</div>`;
}

// -- views and columns --

function Views({ query }) {
	const [views, setViews] = useState(() => kept(VIEWS_KEY, [{ name: "Needs somebody", q: "status:blocked,failed,retrying" }, { name: "Started today", q: "started:today" }, { name: "Slow", q: "took:>5m" }]));
	const save = () => openDialog("Save this view", (close) => html`<form onSubmit=${(event) => {
		event.preventDefault();
		const name = event.target.elements.name.value.trim();
		if (!name) return;
		const next = [...views.filter((one) => one.name !== name), { name, q: query }];
		setViews(next); keep(VIEWS_KEY, next); close();
	}}><p>Kept in this browser. The address of the page holds it too, to be shared.</p><label class="field"><span class="label">Name</span><input name="name" maxlength="60" /></label>
		<div class="actions"><${Button} onClick=${close}>Not now<//><button class="main">Save</button></div></form>`);
	const drop = (name) => { const next = views.filter((one) => one.name !== name); setViews(next); keep(VIEWS_KEY, next); };
	return html`<details class="menu" onClick=${(event) => { if (event.target.closest("a")) event.currentTarget.open = false; }}><summary>Views</summary><div class="menu-body">
		${views.map((one) => html`<div class="menu-row" key=${one.name}><a href=${href([], { q: one.q })}>${one.name} <span class="dim mono clip">${one.q}</span></a><${Button} class="quiet" aria-label=${`Forget ${one.name}`} onClick=${() => drop(one.name)}>✕<//></div>`)}
		<${Button} onClick=${save}>Save this view…<//></div></details>`;
}

function ColumnMenu({ columns, setColumns }) {
	return html`<details class="menu right"><summary>Columns</summary><div class="menu-body">${Object.entries(COLUMNS).map(([name, label]) => html`
		<label class="check" key=${name}><input type="checkbox" checked=${columns.includes(name)} onChange=${(event) => {
			const next = Object.keys(COLUMNS).filter((one) => (one === name ? event.target.checked : columns.includes(one)));
			setColumns(next); keep(COLUMNS_KEY, next);
		}} /> ${label}</label>`)}</div></details>`;
}

// -- the table --

const cells = {
	workflow: (run) => html`<td class="c-workflow"><span class="clip" title=${run.workflow}>${run.workflow}</span></td>`,
	started: (run) => html`<td class="c-time"><${Ago} time=${run.started} /></td>`,
	created: (run) => html`<td class="c-time"><${Ago} time=${run.created} /></td>`,
	finished: (run) => html`<td class="c-time"><${Ago} time=${run.closed} /></td>`,
	wakes: (run) => html`<td class="c-time"><${Ago} time=${run.wakes} /></td>`,
	took: (run) => html`<td class="c-time num"><${Took} from=${run.started} to=${run.closed} /></td>`,
	why: (run) => html`<td class="c-why"><span class="clip" title=${run.why}>${run.why}</span></td>`,
	tags: (run) => html`<td class="c-tags">${run.tags.map((tag) => html`<a class="tag" key=${tag} href=${href([], { q: `tag:${quoted(tag)}` })}>${tag}</a>`)}</td>`,
	cause: (run) => html`<td>${run.cause}</td>`,
};

export function Runs() {
	const query = route.value.query.get("q") || "";
	const before = route.value.query.get("before") || "";
	const sort = route.value.query.get("sort") || "";
	const list = useLook(asked("runs", { q: query, before, sort, limit: PAGE }));
	const counts = useLook(asked("counts", { q: termsOf(query).rest }));
	const language = useLook("language", 0);
	const forms = useLook("forms", 0);
	const canAct = !useMeta()?.is_read_only;
	const [columns, setColumns] = useState(() => kept(COLUMNS_KEY, USUAL).filter((one) => one in COLUMNS));
	const [selected, setSelected] = useState(() => new Set());
	const [isAll, setAll] = useState(false);
	const [cursor, showCursor] = useState("");
	const table = useRef();
	const place = useRef("");  // Keys come faster than pages are drawn; rows move, runs do not.
	const setCursor = (next) => { place.current = next; showCursor(next); };
	useEffect(() => { setSelected(new Set()); setAll(false); setCursor(""); }, [query, before, sort]);

	const items = list.data?.items || [];
	const words = useMemo(() => language.data && { ...language.data, workflows: (forms.data?.workflows || []).map((one) => one.name) }, [language.data, forms.data]);

	const toggle = (id) => { setSelected((before) => { const next = new Set(before); if (!next.delete(id)) next.add(id); return next; }); setAll(false); };
	const selectPage = () => { setSelected(selected.size === items.length ? new Set() : new Set(items.map((one) => one.id))); setAll(false); };
	useLayoutEffect(() => {  // With the rows, not after them.
		const keys = (event) => {
			if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select, dialog, [role=tab]")) return;
			const focus = (next) => { setCursor(items[next]?.id || ""); table.current?.querySelectorAll("tbody tr")[next]?.querySelector("a.run-link")?.focus(); };
			const row = items.findIndex((one) => one.id === place.current);
			const run = items[row];
			if (event.key === "j") focus(Math.min(items.length - 1, row + 1));
			else if (event.key === "k") focus(Math.max(0, row - 1));
			else if (event.key === "x" && run && canAct) toggle(run.id);
			else if (event.key === "r" && !canAct) return;
			else if (event.key === "r" && selected.size) act("retry");
			else if (event.key === "r" && run && verbsFor(run.status).includes("retry")) actOnRun(run.id, "retry");
			else if (event.key === "Enter" && run && event.target === document.body) go(["runs", run.id]);
			else return;
			event.preventDefault();
		};
		addEventListener("keydown", keys);
		return () => removeEventListener("keydown", keys);
	});
	const total = counts.data && list.data ? totalOf(counts.data.counts, query) : null;
	const act = (verb) => {
		const meant = "id:" + [...selected].map((id) => quoted(exactly(id))).join();
		actOnMany(isAll ? query || "status:open,closed" : meant, verb, () => { setSelected(new Set()); setAll(false); });
	};
	const headOf = (name, label) => {
		if (!SORTS.includes(name)) return html`<th key=${name} class=${"c-" + name}>${label}</th>`;
		const now = sort || "-created";
		const by = now === name ? "ascending" : now === "-" + name ? "descending" : "none";
		return html`<th key=${name} aria-sort=${by} class=${"c-" + name}><${Button} class="sort" onClick=${() => setQuery({ before: "", sort: by === "none" ? "-" + name : by === "descending" ? name : "" })}>${label}${by === "ascending" ? " ↑" : by === "descending" ? " ↓" : ""}<//></th>`;
	};
	const isEmpty = list.data && items.length === 0;
	const chosen = new Set(items.filter((one) => selected.has(one.id)).map((one) => one.status));
	return html`<h1 class="hidden">Runs</h1>
		<div class="bar"><${FilterBox} query=${query} language=${words} error=${list.error?.code === "wrong_filter" ? list.error : null} /><${Views} query=${query} /></div>
		<${Chips} query=${query} counts=${counts.data} />
		${list.error && list.error.code !== "wrong_filter" && html`<${Failure} error=${list.error} />`}
		${canAct && selected.size > 0 && html`<div class="bulk" role="toolbar" aria-label="Act on the selected runs">
			<b>${isAll ? plural(total ?? 0, "run") : plural(selected.size, "run")} selected</b>
			${!isAll && selected.size === items.length && list.data.next && total > items.length && html`<${Button} class="link" onClick=${() => setAll(true)}>select all ${num(total)} matching<//>`}
			<${Button} class="link" onClick=${() => { setSelected(new Set()); setAll(false); }}>none<//><span class="grow"></span>
			${bulkVerbs(isAll ? counts.data?.counts : Object.fromEntries([...chosen].map((one) => [one, 1]))).map((verb) => html`<${Button} key=${verb} class=${VERBS[verb].isDanger ? "danger" : ""} onClick=${() => act(verb)}>${VERBS[verb].label}<//>`)}</div>`}
		${!list.data && !list.error && html`<${Loading} />`}
		${isEmpty && html`<${Empty}>${query ? html`<p>No run is meant by <code class="wrap">${query}</code>.</p><p><a href=${href([])}>Show all runs</a></p>`
			: html`<p>There is no run in this file yet.</p><p class="dim">One begins with <code>durable start APP:WORKFLOW</code>, in Python, or <a href=${href(["start"])}>here</a>.</p>`}</${Empty}>`}
		${items.length > 0 && html`<div class="table-wrap"><table class="runs" ref=${table}><thead><tr>
			<th class="c-check"><input type="checkbox" aria-label="Select this page" checked=${selected.size > 0 && selected.size === items.length} onChange=${selectPage} /></th>
			${headOf("status", "Status")}<th class="c-run">Run</th>${columns.map((name) => headOf(name, COLUMNS[name]))}</tr></thead>
			<tbody>${items.map((run) => html`<tr key=${run.key} class=${(selected.has(run.id) ? "picked " : "") + (run.id === cursor ? "cursor" : "")}>
				<td class="c-check"><input type="checkbox" aria-label=${`Select ${run.id}`} checked=${selected.has(run.id)} onChange=${() => toggle(run.id)} /></td>
				<td class="c-status"><${Status} of=${run.status} /></td><td class="c-run"><${RunLink} id=${run.id} /></td>${columns.map((name) => cells[name](run))}</tr>`)}</tbody></table></div>
			<div class="pages"><${ColumnMenu} columns=${columns} setColumns=${setColumns} />
				<${Button} onClick=${() => setQuery({ before: "", sort: sort ? "" : "created" })}>${!sort ? "Newest first" : sort === "created" ? "Oldest first" : `By ${sort.replace("-", "")}`}<//><span class="grow"></span>
				${before && html`<${Button} onClick=${() => history.back()}>‹ back<//><a class="button" href=${href([], { q: query, sort })}>first page</a>`}
				<span class="dim" aria-live="polite">${num(items.length)} of ${total?.toLocaleString("en") ?? "…"}</span>
				${list.data.next && html`<a class="button" href=${href([], { q: query, sort, before: list.data.next })}>${!sort ? "older" : sort === "created" ? "newer" : "next"} ›</a>`}</div>`}`;
}

function totalOf(counts, query) {
	const { statuses } = termsOf(query);
	if (!statuses.length) return Object.values(counts).reduce((sum, one) => sum + one, 0);
	const wanted = statuses.flatMap((one) => (one === "open" ? OPEN : one === "closed" ? CLOSED : [one]));
	return wanted.reduce((sum, one) => sum + (counts[one] || 0), 0);
}

