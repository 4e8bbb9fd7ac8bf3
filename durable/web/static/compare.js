// Compare: two runs side by side, the first difference first.
import { asked, at, useLook } from "./live.js";
import { Empty, Failure, Field, RunLink, Status, go, html, plural, route } from "./parts.js";
import { nameOf } from "./timeline.js";

const short = (text) => (text || "").slice(0, 400);

export function Compare() {
	const one = route.value.query.get("one") || "";
	const other = route.value.query.get("other") || "";
	const { data, error } = useLook(one && other ? asked(`runs/${at(one)}/compare`, { with: other }) : null, 3000);
	const send = (event) => { event.preventDefault(); go(["compare"], { one: event.target.elements.one.value.trim(), other: event.target.elements.other.value.trim() }); };
	const cell = (step, what) => (step ? html`<td><${Status} of=${step.status} /> <b>${nameOf(step)}</b>${what.includes("arguments") && html`<pre class="mono wrap small">${short(step.arguments)}</pre>`}${what.includes("result") && html`<pre class="mono wrap small">→ ${short(step.result)}</pre>`}${what.includes("error") && html`<p class="bad-text wrap">${step.error}</p>`}</td>` : html`<td class="dim">not there</td>`);
	return html`<div class="page-head"><h1>Compare</h1></div>
		<form class="bar" onSubmit=${send} key=${one + other}><${Field} label="One run"><input name="one" class="mono" defaultValue=${one} /></${Field}><${Field} label="The other"><input name="other" class="mono" defaultValue=${other} /></${Field}><button class="main">Compare</button></form>
		<${Failure} error=${error} />
		${!one || !other ? html`<${Empty}><p>Two runs, step by step: where they differ first.</p></${Empty}>` : data && html`
			<p><b>${plural(data.same, "step")}</b> the same, <b>${data.differ}</b> differ, ${data.only_one} only in the one, ${data.only_other} only in the other.</p>
			${Object.keys(data.fields).length > 0 && html`<section><h2>The runs</h2><table class="plain compare"><thead><tr><td></td><th><${RunLink} id=${data.one.id} /></th><th><${RunLink} id=${data.other.id} /></th></tr></thead><tbody>${Object.entries(data.fields).map(([name, [left, right]]) => html`<tr key=${name}><th scope="row">${name}</th><td class="mono wrap">${short(left)}</td><td class="mono wrap">${short(right)}</td></tr>`)}</tbody></table></section>`}
			<section><h2>Steps</h2>${data.differences.length === 0 ? html`<p>Every step is the same.</p>` : html`<table class="plain compare"><thead><tr><th>Step</th><th><${RunLink} id=${data.one.id} /></th><th><${RunLink} id=${data.other.id} /></th></tr></thead><tbody>${data.differences.map((each, place) => html`<tr key=${each.step + place} class=${place === 0 ? "first" : ""}><th scope="row"><span class="mono">${each.step}</span>${place === 0 && html` <span class="tag">first difference</span>`}<div class="dim">${each.what.join(", ")}</div></th>${cell(each.one, each.what)}${cell(each.other, each.what)}</tr>`)}</tbody></table>`}</section>`}`;
}
