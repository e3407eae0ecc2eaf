"""Packaging for pip. Every value comes from settings.ini."""

from configparser import ConfigParser
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
names = ("fast", "lab", "dicom", "kaggle", "dev")
extras = {name: cfg[f"{name}_requirements"].split() for name in names}
extras["lab"] = [*extras["lab"], *extras["fast"]]
extras["dev"] = [*extras["lab"], *extras["dicom"], *extras["kaggle"], *extras["dev"]]


class WithDataFiles(Distribution):
    "Editable installations bring data files, too: setuptools asks for them by this name."

    def has_data(self) -> bool:
        return self.has_data_files()


def extension_files() -> list[tuple[str, list[str]]]:
    "Where the prebuilt JupyterLab extension goes, and its files: JupyterLab finds it there."
    built = here / "labextension" / "built"
    target = "share/jupyter/labextensions/cxr-tutorial-cells"
    folders = {}
    for file in sorted(built.rglob("*")):
        if file.is_file():
            place = f"{target}/{file.parent.relative_to(built).as_posix()}".removesuffix("/.")
            folders.setdefault(place, []).append(file.relative_to(here).as_posix())
    return list(folders.items())


class BuildWithNotebooks(build_py):
    """Puts the notebooks and what they show into the package, where `course_file` finds them."""

    def run(self):
        super().run()
        if self.editable_mode:  # they are found beside the package
            return
        target = Path(self.build_lib, cfg["lib_path"], "notebooks")
        rmtree(target, ignore_errors=True)  # of an earlier build
        unwanted = ignore_patterns(".*", "__pycache__", "*.py")
        copytree(here / "nbs", target, ignore=unwanted)
        copytree(here / "benchmarks", target / "benchmarks", ignore=unwanted)


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    # an installed package finds the address and the branch of the course there (dev/links)
    project_urls={"Source": f"{cfg['git_url']}/tree/{cfg['branch']}"},
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: {one}" for one in cfg["pythons"].split()],
    distclass=WithDataFiles,
    cmdclass={"build_py": BuildWithNotebooks},
    packages=find_packages(include=[cfg["lib_path"], cfg["lib_path"] + ".*"]),
    python_requires=">=" + cfg["min_python"],
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    data_files=extension_files(),
    entry_points={
        "console_scripts": cfg["console_scripts"].split("\n"),
        # nbdev finds there what a name in back-ticks links to
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    zip_safe=False,
)
