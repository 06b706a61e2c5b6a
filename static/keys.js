// Arrow keys go through the pictures of a grid, which is one stop of the tab key, and from one image's page to the next.
"use strict";

function columnsOf(links) {
  const top = links[0].getBoundingClientRect().top;
  const below = links.findIndex((link) => link.getBoundingClientRect().top > top + 5);
  return below < 0 ? links.length : below;
}

function targetOf(key, here, links) {
  const columns = columnsOf(links);
  const moves = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + columns, ArrowUp: here - columns, Home: 0, End: links.length - 1 };
  return links[moves[key]];
}

function isPlain(event) {
  return !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented);
}

for (const grid of document.querySelectorAll(".grid")) {
  const links = Array.from(grid.querySelectorAll("li > a"));
  links.forEach((link, place) => { link.tabIndex = place ? -1 : 0; });
  grid.addEventListener("keydown", (event) => {
    const here = links.indexOf(document.activeElement);
    const target = here < 0 || !isPlain(event) ? null : targetOf(event.key, here, links);
    if (!target) return;
    event.preventDefault();
    links[here].tabIndex = -1;
    target.tabIndex = 0;
    target.focus();
  });
}

if (document.querySelector("img.single")) {
  document.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    if (way && isPlain(event)) document.querySelector(`a[rel=${way}]`)?.click();
  });
}
