// Issues: like failures as one, with what repairs the whole group.
import { useState } from "./vendor/preact.js";
import { asked, at, post, useLook, useMeta } from "./live.js";
import { ActForm, Ago, Button, Empty, Failure, Loading, RunLink, Status, go, href, html, num, openDialog, plural, route, say } from "./parts.js";
import { Reason, actOnMany } from "./acts.js";
import { Spark } from "./charts.js";
import { Traceback } from "./run.js";

const STATES = ["open", "muted", "resolved", "all"];
const ASKS = { resolve: ["Resolve", "The next one like it opens it again."], mute: ["Mute", "It is not shown among the open ones any more."], reopen: ["Open again", "It is shown among the open ones."] };

// The runs of a group that need somebody.
export const queryOf = (issue) => (issue.kind === "no worker" ? `status:queued workflow:${JSON.stringify(issue.id.replace(/^no-worker:/, ""))}` : `issue:${issue.id}`);

function StateForm({ issue, verb, close }) {
	const [reason, setReason] = useState("");
	return html`<${ActForm} verb=${ASKS[verb][0]} onDo=${async () => { await post(`issues/${at(issue.id)}:${verb}`, reason ? { reason } : {}); say(`${issue.id}: ${ASKS[verb][0].toLowerCase()}`); }} onDone=${close}>
		<p>${issue.title}</p><p class="dim">${ASKS[verb][1]}</p><${Reason} value=${reason} onInput=${setReason} /></${ActForm}>`;
}
const setState = (issue, verb) => openDialog(`${ASKS[verb][0]} ${issue.id}`, (close) => html`<${StateForm} issue=${issue} verb=${verb} close=${close} />`);

function Buttons({ issue }) {
	if (issue.kind === "no worker") return html`<a class="button" href=${href([], { q: queryOf(issue) })}>${plural(issue.open, "run")}</a>`;
	return html`${issue.open > 0 && html`<${Button} class="main" onClick=${() => actOnMany(queryOf(issue), "retry")}>Retry ${num(issue.open)}<//><${Button} onClick=${() => actOnMany(queryOf(issue), "restart")}>Restart from…<//>`}
		<a class="button" href=${href([], { q: queryOf(issue) })}>Runs</a>
		${issue.state === "open" ? html`<${Button} onClick=${() => setState(issue, "resolve")}>Resolve<//><${Button} onClick=${() => setState(issue, "mute")}>Mute<//>` : html`<${Button} onClick=${() => setState(issue, "reopen")}>Open again<//>`}`;
}

export function Issues() {
	const state = route.value.query.get("state") || "open";
	const { data, error } = useLook(asked("issues", { state }));
	const meta = useMeta();
	return html`<div class="page-head"><h1>Issues</h1><div class="chips" role="group" aria-label="State">${STATES.map((one) => html`<${Button} key=${one} class="chip" aria-pressed=${one === state} onClick=${() => go(["issues"], { state: one === "open" ? "" : one })}>${one}<//>`)}</div></div>
		<${Failure} error=${error} />${!data && !error && html`<${Loading} />`}
		${data && data.items.length === 0 && html`<${Empty}><p>${state === "open" ? "No open issue: nothing failed, is blocked or is tried again and again." : "None."}</p></${Empty}>`}
		<ul class="issues">${(data?.items || []).map((one) => html`<li key=${one.id} class="panel issue"><div class="issue-head"><a class="tag" href=${href(["issues", one.id])}>${one.id}</a> <${Kind} of=${one.kind} /> <a class="issue-title" href=${href(["issues", one.id])}>${one.title}</a></div>
			<div class="issue-line"><${Spark} values=${one.hours} label=${`${one.id}: ${one.hours.reduce((sum, n) => sum + n, 0)} in the last 24 hours`} /><span><b>${num(one.open)}</b> open</span><span class="dim">seen ${num(one.seen)}×</span><span class="dim">last <${Ago} time=${one.last} /></span>
				<span class="dim mono clip" title=${one.place}>${one.function}${one.function && one.place ? " · " : ""}${one.place}</span><span class="dim clip">${Object.keys(one.workflows).join(", ")}</span></div>
			${!meta?.is_read_only && html`<div class="buttons"><${Buttons} issue=${one} /></div>`}</li>`)}</ul>`;
}

const Kind = ({ of }) => html`<${Status} of=${of === "no worker" ? "queued" : of === "watchdog" ? "running" : of} />${of === "no worker" || of === "watchdog" ? html`<span class="dim">${of}</span>` : ""}`;

export function Issue({ id }) {
	const { data: one, error } = useLook(`issues/${at(id)}`);
	const meta = useMeta();
	const runs = useLook(one ? asked("runs", { q: queryOf(one), limit: 20 }) : null);
	if (error && !one) return html`<${Failure} error=${error} />`;
	if (!one) return html`<${Loading} />`;
	const counts = (title, map) => Object.keys(map).length > 0 && html`<section><h2>${title}</h2><table class="plain"><tbody>${Object.entries(map).map(([name, count]) => html`<tr key=${name}><td class="mono clip">${name}</td><td class="num">${num(count)}</td></tr>`)}</tbody></table></section>`;
	return html`<div class="page-head"><h1><span class="tag">${one.id}</span> ${one.title}</h1></div>
		<p><${Kind} of=${one.kind} /> <span class="gap"><b>${num(one.open)}</b> open</span> <span class="gap dim">seen ${num(one.seen)}×</span> <span class="gap dim">first <${Ago} time=${one.first} /></span> <span class="gap dim">last <${Ago} time=${one.last} /></span> <span class="gap">${one.state}</span></p>
		${(one.function || one.place) && html`<p class="mono wrap dim">${one.function} ${one.place}</p>`}
		${!meta?.is_read_only && html`<div class="buttons"><${Buttons} issue=${one} /></div>`}
		<div class="spark-wide"><${Spark} values=${one.hours} label="by hour, the last 24" /><span class="dim">the last 24 hours</span></div>
		<div class="halves">${counts("Workflows, 30 days", one.workflows)}${counts("Versions of the code, 30 days", one.versions)}</div>
		<section><h2>Sample ${one.sample_run && html`<${RunLink} id=${one.sample_run} />`}</h2><${Traceback} text=${one.sample} /></section>
		<section><h2>Runs</h2>${runs.data?.items.length ? html`<table class="plain"><tbody>${runs.data.items.map((run) => html`<tr key=${run.key}><td><${Status} of=${run.status} /></td><td><${RunLink} id=${run.id} /></td><td class="dim">${run.workflow}</td><td><${Ago} time=${run.started} /></td><td class="clip dim">${run.why}</td></tr>`)}</tbody></table>` : html`<p class="dim">none</p>`}</section>`;
}
