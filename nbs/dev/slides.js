// Keys: right, PageDown and Space go on; left, PageUp and Shift+Space back; Home and End to the ends.
'use strict';
const slides = [...document.querySelectorAll('.slide')];
const place = document.getElementById('place');
let current = 0;

function show(number, move = true) {
  current = Math.max(0, Math.min(slides.length - 1, number));
  place.textContent = `${current + 1} / ${slides.length}`;
  if (move) {
    slides[current].scrollIntoView();
    slides[current].focus({ preventScroll: true });
    history.replaceState(null, '', `#${current + 1}`);
  }
}

document.addEventListener('keydown', (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const onSummary = event.target.closest('summary');
  if (event.key === ' ' && onSummary) return; // it opens the answer
  const steps = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1, ' ': event.shiftKey ? -1 : 1 };
  if (event.key in steps) show(current + steps[event.key]);
  else if (event.key === 'Home') show(0);
  else if (event.key === 'End') show(slides.length - 1);
  else return;
  event.preventDefault();
});

const observer = new IntersectionObserver((seen) => {
  for (const one of seen) if (one.isIntersecting) show(slides.indexOf(one.target), false);
}, { threshold: 0.6 });
slides.forEach((slide) => observer.observe(slide));
show(Number(location.hash.slice(1) || 1) - 1, Boolean(location.hash));
