// Charts, by hand: a few bars need no library.
import { clock, html, num } from "./parts.js";

export function Spark({ values, label }) {
	const most = Math.max(1, ...values);
	return html`<svg class="spark" viewBox=${`0 0 ${values.length * 4} 20`} preserveAspectRatio="none" role="img" aria-label=${label}>
		${values.map((value, at) => html`<rect key=${at} x=${at * 4} width="3" y=${value ? 19 - (value / most) * 18 : 19} height=${value ? 1 + (value / most) * 18 : 1} class=${value ? "bar" : "bar none"} />`)}</svg>`;
}

const nice = (value) => {
	const step = 10 ** Math.floor(Math.log10(Math.max(1, value)));
	return Math.ceil(value / step) * step;
};

// Columns of stacked parts over time; each column tells itself in words.
export function Columns({ columns, parts, label }) {
	const W = 720, H = 160, left = 44, bottom = 20;
	const most = nice(Math.max(1, ...columns.map((one) => parts.reduce((sum, [name]) => sum + one[name], 0))));
	const width = (W - left) / Math.max(1, columns.length);
	const every = Math.max(1, Math.ceil(columns.length / 8));
	return html`<svg class="columns-chart" viewBox=${`0 0 ${W} ${H + bottom}`} role="img" aria-label=${label}>
		${[0, 0.5, 1].map((part) => html`<line key=${part} x1=${left} x2=${W} y1=${H - part * (H - 8)} y2=${H - part * (H - 8)} class="grid" /><text x=${left - 6} y=${H - part * (H - 8) + 4} text-anchor="end">${num(Math.round(most * part))}</text>`)}
		${columns.map((one, at) => {
			let y = H;
			const said = parts.map(([name, text]) => `${one[name]} ${text}`).join(", ");
			return html`<g key=${at}><title>${new Date(one.hour).toLocaleString("sv-SE").slice(0, 16)}: ${said}</title><rect class="hit" x=${left + at * width} y="0" width=${width} height=${H} />
				${parts.map(([name, , kind]) => { const height = (one[name] / most) * (H - 8); y -= height; return html`<rect key=${name} class=${kind} x=${left + at * width + 1} y=${y} width=${Math.max(1, width - 2)} height=${height} />`; })}
				${at % every === 0 && html`<text x=${left + at * width} y=${H + 15}>${clock(one.hour).slice(0, 5)}</text>`}</g>`;
		})}</svg>`;
}
