// An unseen component with one content of a map (points or colours) and the code that draws. Both
// stay the same from run to run, and so Streamlit sends them once.

const held = new WeakMap(); // mount -> name of its content

export default function ({ data, parentElement }) {
  const kindred = (window.kindred ??= {});
  kindred.MapView ??= MapView;
  kindred.mapStore ??= new MapStore();
  window.dispatchEvent(new CustomEvent("kindred:map-code"));

  const name = kindred.mapStore.put(data);
  if (held.has(parentElement)) kindred.mapStore.drop(held.get(parentElement));
  held.set(parentElement, name);
  // The mount is empty; out of the flow it also takes no gap between its neighbours.
  const box = (parentElement.host ?? parentElement).closest('[data-testid="stElementContainer"]');
  if (box) box.style.position = "absolute";
  return () => kindred.mapStore.drop(held.get(parentElement));
}
