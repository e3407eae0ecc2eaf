// Builds the extension with JupyterLab's own builder, and notes from which source files it was built.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, 'node_modules');

rmSync(join(here, 'built'), { recursive: true, force: true });
execFileSync(
  process.execPath,
  [
    join(modules, '@jupyter/builder/lib/build-labextension.js'),
    '--core-package-file',
    join(modules, '@jupyterlab/core-meta/core.package.json'),
    here
  ],
  { stdio: 'inherit' }
);

// What a test compares without node: a hash of every file that the build reads.
const sources = ['build.mjs', 'builder.config.js', 'package.json', 'package-lock.json', 'tsconfig.json'];
for (const folder of ['src', 'style']) {
  sources.push(...readdirSync(join(here, folder)).map(name => `${folder}/${name}`));
}
const hashes = sources.sort().map(name => [
  name,
  createHash('sha256').update(readFileSync(join(here, name))).digest('hex')
]);
writeFileSync(
  join(here, 'built/sources.json'),
  JSON.stringify(Object.fromEntries(hashes), null, 2) + '\n'
);
// How pip knows the extension: `jupyter labextension list` shows it.
writeFileSync(
  join(here, 'built/install.json'),
  JSON.stringify(
    {
      packageManager: 'python',
      packageName: 'cxr_tutorial',
      uninstallInstructions: 'Use your Python package manager (pip, uv) to uninstall cxr_tutorial.'
    },
    null,
    2
  ) + '\n'
);
