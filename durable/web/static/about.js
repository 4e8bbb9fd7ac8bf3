// About: what this is, and whether the file is well.
import { useState } from "./vendor/preact.js";
import { get, useLook } from "./live.js";
import { Button, Failure, Loading, RunLink, html, num } from "./parts.js";

export const KEYS = [["/", "the filter"], ["j  k", "next and previous run"], ["x", "select"], ["r", "retry"], ["Enter", "open"], ["g then r i w s", "runs, issues, waiting, stats"], ["Ctrl-K", "go anywhere"], ["?", "this"], ["Esc", "close"]];

export const Keys = () => html`<table class="plain keys"><tbody>${KEYS.map(([key, text]) => html`<tr key=${key}><td>${key.split(" ").map((one) => (one === "then" ? " then " : one && html`<kbd>${one}</kbd> `))}</td><td>${text}</td></tr>`)}</tbody></table>`;

// Before a deploy: does the code here fit the runs in flight?
function Fits() {
	const [found, setFound] = useState(null);
	const [problem, setProblem] = useState(null);
	const [busy, setBusy] = useState(false);
	const look = async () => { setBusy(true); setProblem(null); try { setFound(await get("check")); } catch (failure) { setProblem(failure); } setBusy(false); };
	return html`<section><h2>Check the code</h2><p class="dim">Replays every open run with the code here; nothing is done.</p><${Button} onClick=${look} disabled=${busy}>${busy ? "Replaying…" : "Check open runs"}<//><${Failure} error=${problem} />
		${found && html`<p><b>${num(found.fit)}</b> fit, <b>${num(found.misfits.length)}</b> do not${found.is_whole ? "" : "; there are more"}.</p><table class="plain"><tbody>${found.misfits.slice(0, 200).map((one) => html`<tr key=${one.run}><td><${RunLink} id=${one.run} /></td><td class="dim">${one.workflow}</td><td class="wrap">${one.why}</td></tr>`)}</tbody></table>`}</section>`;
}

export function About() {
	const { data, error } = useLook("meta", 5000);
	const [checks, setChecks] = useState(null);
	const [problem, setProblem] = useState(null);
	const [busy, setBusy] = useState(false);
	const look = async () => { setBusy(true); setProblem(null); try { setChecks((await get("doctor")).items); } catch (failure) { setProblem(failure); } setBusy(false); };
	if (error && !data) return html`<${Failure} error=${error} />`;
	if (!data) return html`<${Loading} />`;
	return html`<div class="page-head"><h1>About</h1></div>
		<dl class="facts"><div><dt>file</dt><dd class="mono wrap">${data.file}</dd></div>${Object.entries(data.versions).map(([name, version]) => html`<div key=${name}><dt>${name}</dt><dd>${version}</dd></div>`)}<div><dt>acts</dt><dd>${data.is_read_only ? "refused: read only" : "allowed"}</dd></div><div><dt>code</dt><dd>${data.has_code ? "here" : "not here"}</dd></div></dl>
		<section><h2>Doctor</h2><p class="dim">Reads the whole file once: a second for each half gigabyte.</p><${Button} onClick=${look} disabled=${busy}>${busy ? "Looking…" : "Look it over"}<//><${Failure} error=${problem} />
			${checks && html`<table class="plain"><tbody>${checks.map((one) => html`<tr key=${one.name}><td class=${one.is_well ? "good-text" : "bad-text"}>${one.is_well ? "✓ well" : "✕ not well"}</td><th scope="row">${one.name}</th><td class="wrap">${one.text}</td></tr>`)}</tbody></table>`}</section>
		${data.has_code && html`<${Fits} />`}
		<section><h2>Keys</h2><${Keys} /></section>
		<section><h2>For programs</h2><p>The pages are a client of a JSON API: <a href="api/v1/openapi.json">its OpenAPI document</a>.</p></section>`;
}
