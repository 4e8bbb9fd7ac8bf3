#!/usr/bin/env bash
# Makes ../static/vendor/preact.js of the packages in package-lock.json, with their licences beside it.
set -euo pipefail
cd "$(dirname "$0")"
out=../static/vendor
npm ci --silent --no-audit --no-fund
npx esbuild entry.js --bundle --minify --format=esm --target=es2022 --legal-comments=none --outfile="$out/preact.js"
{
  echo "preact.js holds these packages, unchanged but for being joined and minified by esbuild."
  for name in preact @preact/signals @preact/signals-core htm; do
    printf '\n==== %s %s\n\n' "$name" "$(node -p "require('./node_modules/$name/package.json').version")"
    cat "node_modules/$name/LICENSE"
  done
} > "$out/LICENSES.txt"
(cd "$out" && sha256sum preact.js LICENSES.txt > SHA256SUMS)
rm -rf node_modules
