// The frame: navigation, keys, the palette, and which page is shown.
import { h, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { asked, connection, get, paused, useLook } from "./live.js";
import { Button, Dialogs, Empty, Lost, Status, go, hasDialog, href, html, openDialog, route } from "./parts.js";
import { Runs } from "./runs.js";
import { Run } from "./run.js";
import { Issue, Issues } from "./issues.js";
import { Waiting } from "./waiting.js";
import { Workers } from "./workers.js";
import { Stats } from "./stats.js";
import { Compare } from "./compare.js";
import { Start } from "./start.js";
import { Job, Jobs } from "./jobs.js";
import { About, Keys } from "./about.js";

const PAGES = [["", "Runs"], ["issues", "Issues"], ["waiting", "Waiting"], ["workers", "Workers"], ["stats", "Stats"], ["jobs", "Jobs"], ["compare", "Compare"], ["start", "Start"], ["about", "About"]];
const GOES = { r: "", i: "issues", w: "waiting", s: "stats", j: "jobs" };
const THEME_KEY = "durable.theme";
const THEMES = ["light dark", "light", "dark"];
const THEME_WORDS = { "light dark": "◐ as the system", light: "○ light", dark: "● dark" };

function Page() {
	const [name, id] = route.value.parts;
	switch (name) {
		case undefined: return html`<${Runs} />`;
		case "runs": return id ? html`<${Run} key=${id} id=${id} />` : html`<${Runs} />`;
		case "issues": return id ? html`<${Issue} key=${id} id=${id} />` : html`<${Issues} />`;
		case "jobs": return id ? html`<${Job} key=${id} id=${id} />` : html`<${Jobs} />`;
		case "waiting": return html`<${Waiting} />`;
		case "workers": return html`<${Workers} />`;
		case "stats": return html`<${Stats} />`;
		case "compare": return html`<${Compare} />`;
		case "start": return html`<${Start} key=${route.value.query.get("like") || ""} />`;
		case "about": return html`<${About} />`;
		default: return html`<${Empty}><p>There is no such page.</p><p><a href=${href([])}>All runs</a></p></${Empty}>`;
	}
}

function Palette({ close }) {
	const [text, setText] = useState("");
	const [runs, setRuns] = useState([]);
	const [picked, setPicked] = useState(0);
	const timer = useRef(0);
	const latest = useRef("");
	useEffect(() => {
		clearTimeout(timer.current);
		const word = text.trim();
		latest.current = word;
		setRuns([]);  // What was found for other words is not meant any more.
		setPicked(0);
		if (!word) return;
		timer.current = setTimeout(async () => {
			const found = [];
			try { const run = await get(`runs/${encodeURIComponent(word)}`); found.push({ id: run.id, status: run.status, workflow: run.workflow }); } catch { /* no such run */ }
			try {
				const quoted = JSON.stringify(word + "*");
				for (const one of (await get(asked("runs", { q: /[:()"]/.test(word) ? word : `id:${quoted.slice(1, -1)} or workflow:${quoted.slice(1, -1)}`, limit: 8 }))).items) if (!found.some((each) => each.id === one.id)) found.push(one);
			} catch { /* no filter yet */ }
			if (latest.current === word) setRuns(found);
		}, 120);
	}, [text]);
	const pages = PAGES.filter(([, label]) => label.toLowerCase().startsWith(text.trim().toLowerCase()));
	const items = [...pages.map(([name, label]) => ({ key: "page-" + name, act: () => go(name ? [name] : []), show: html`Go to <b>${label}</b>` })),
		...runs.map((one) => ({ key: one.id, act: () => go(["runs", one.id]), show: html`<${Status} of=${one.status} /> <span class="mono clip">${one.id}</span> <span class="dim clip">${one.workflow}</span>` })),
		...(text.trim() ? [{ key: "filter", act: () => go([], { q: text.trim() }), show: html`Filter by <code class="clip">${text.trim()}</code>` }] : [])];
	const keys = (event) => {
		if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); setPicked((picked + (event.key === "ArrowDown" ? 1 : -1) + items.length) % Math.max(1, items.length)); }
		if (event.key === "Enter" && items[picked]) { event.preventDefault(); close(); items[picked].act(); }
	};
	return html`<div onKeyDown=${keys}><input type="text" autofocus role="combobox" aria-expanded="true" aria-controls="palette" aria-activedescendant=${items[picked] && "palette-" + picked} aria-label="A page, a run or a filter" placeholder="a page, a run, a workflow, a filter" value=${text} onInput=${(event) => setText(event.target.value)} />
		<ul id="palette" role="listbox" aria-label="Where to" class="palette">${items.map((one, at) => html`<li key=${one.key} id=${"palette-" + at} role="option" aria-selected=${at === picked} onClick=${() => { close(); one.act(); }}>${one.show}</li>`)}</ul></div>`;
}

const openPalette = () => openDialog("Go to", (close) => html`<${Palette} close=${close} />`);
const openKeys = () => openDialog("Keys", () => html`<${Keys} />`);

// It may be drawn only with one of the next frames.
const focusFilter = (frames = 60) => {
	const box = document.getElementById("filter");
	if (box) box.focus(); else if (frames) requestAnimationFrame(() => focusFilter(frames - 1));
};

let afterG = 0;
addEventListener("keydown", (event) => {
	if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); if (!hasDialog()) openPalette(); return; }
	if (event.ctrlKey || event.metaKey || event.altKey || hasDialog() || event.target.closest?.("input:not([type=checkbox]), textarea, select")) return;
	if (Date.now() - afterG < 1200 && event.key in GOES) { afterG = 0; event.preventDefault(); event.stopImmediatePropagation(); go(GOES[event.key] ? [GOES[event.key]] : []); return; }
	if (event.key === "g") { afterG = Date.now(); return; }
	if (event.key === "?") { event.preventDefault(); openKeys(); }
	if (event.key === "/") {
		event.preventDefault();
		if (!document.getElementById("filter")) go([]);
		focusFilter();
	}
}, true);

function themed(theme) {
	document.documentElement.dataset.theme = theme === "light dark" ? "" : theme;
	document.querySelector("meta[name=color-scheme]").content = theme;
}
let theme = "light dark";
try { theme = THEMES.includes(localStorage.getItem(THEME_KEY)) ? localStorage.getItem(THEME_KEY) : theme; } catch { /* a private window keeps nothing */ }
themed(theme);

function Frame() {
	const meta = useLook("meta", 3000).data;
	const [current, setTheme] = useState(theme);
	const name = route.value.parts[0] === "runs" ? "" : route.value.parts[0] || "";
	const file = meta?.file.split("/").pop() || "";
	const where = `${route.value.parts[1] || PAGES.find(([one]) => one === name)?.[1] || ""}`;
	useEffect(() => { document.title = `${where ? where + " · " : ""}${file || "durable"}`; }, [where, file]);
	useEffect(() => { scrollTo(0, 0); }, [route.value.parts.join("/")]);
	const turn = () => {
		const next = THEMES[(THEMES.indexOf(current) + 1) % THEMES.length];
		setTheme(next); themed(next);
		try { localStorage.setItem(THEME_KEY, next); } catch { /* a private window keeps nothing */ }
	};
	const counts = { issues: meta?.issues, jobs: meta?.jobs };
	return html`<header class="top"><a class="brand" href=${href([])}><img src="assets/icon.svg" alt="" width="20" height="20" />durable</a><span class="file mono clip" title=${meta?.file}>${file}</span>
			<nav aria-label="Pages">${PAGES.map(([page, label]) => html`<a key=${page} href=${href(page ? [page] : [])} aria-current=${page === name ? "page" : undefined}>${label}${counts[page] > 0 && html` <span class="badge">${counts[page]}${counts[page] >= 100 ? "+" : ""}<span class="hidden"> ${page === "jobs" ? "under way" : "open"}</span></span>`}</a>`)}</nav>
			<span class="grow"></span>${meta?.is_read_only && html`<span class="tag">read only</span>`}${meta && meta.workers === 0 && html`<a class="tag warn" href=${href(["workers"])}>no worker</a>`}
			<${Button} class="quiet" onClick=${openPalette} title="Ctrl-K" aria-label="Go to (Ctrl-K)">⌘<//>
			<${Button} class=${"quiet live " + (paused.value ? "paused" : connection.value)} aria-pressed=${paused.value} onClick=${() => { paused.value = !paused.value; }} title="Stop or go on following the file">${paused.value ? "‖ paused" : connection.value === "ok" ? "● live" : "○ lost"}<//>
			<${Button} class="quiet" onClick=${turn} aria-label=${`Colours: ${THEME_WORDS[current]}`} title="Colours">${THEME_WORDS[current].slice(0, 1)}<//></header>
		<main id="main" tabindex="-1"><${Lost} />${meta?.trouble && html`<div class="banner bad" role="alert">${meta.trouble}</div>`}<${Page} /></main><${Dialogs} />`;
}

document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main")?.focus(); });

render(h(Frame), document.getElementById("app"));
