// Waiting: everything open by what it waits for, the soonest first.
import { asked, useLook } from "./live.js";
import { Ago, Empty, RunLink, Status, href, html, num } from "./parts.js";

const GROUPS = [["blocked", "Blocked: code and history do not fit"], ["retrying", "Tried again"], ["waiting", "For a message, a child or an answer"], ["queued", "For a worker"], ["paused", "Until somebody resumes them"]];

function Group({ status, title, count }) {
	const sort = status === "retrying" ? "wakes" : "created";
	const { data } = useLook(asked("runs", { q: `status:${status}`, limit: 15, sort }), 2000);
	return html`<section><h2><${Status} of=${status} /> ${title} <a class="count" href=${href([], { q: `status:${status}` })}>${num(count)}</a></h2>
		<${Lines} items=${data?.items || []} />${data?.next && html`<p><a href=${href([], { q: `status:${status}`, sort })}>all of them</a></p>`}</section>`;
}

const Lines = ({ items }) => html`<table class="plain"><tbody>${items.map((run) => html`<tr key=${run.key}><td class="c-run"><${RunLink} id=${run.id} /></td><td class="dim clip">${run.workflow}</td><td class="c-time">${run.wakes ? html`<${Ago} time=${run.wakes} />` : html`<span class="dim">since <${Ago} time=${run.started || run.created} /></span>`}</td><td class="c-why"><span class="clip" title=${run.why}>${run.why}</span></td></tr>`)}</tbody></table>`;

export function Waiting() {
	const soonest = useLook(asked("waiting", { limit: 25 })).data;
	const counts = useLook("counts").data?.counts || {};
	const shown = GROUPS.filter(([status]) => counts[status]);
	return html`<div class="page-head"><h1>Waiting</h1></div>
		${soonest?.items.length > 0 && html`<section><h2>Soonest: timers and retries</h2><${Lines} items=${soonest.items} /></section>`}
		${shown.map(([status, title]) => html`<${Group} key=${status} status=${status} title=${title} count=${counts[status]} />`)}
		${soonest && !soonest.items.length && !shown.length && html`<${Empty}><p>Nothing waits.</p></${Empty}>`}`;
}
