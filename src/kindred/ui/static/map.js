// The map on the page. It is short because it travels with every change of state: the drawing
// itself (MapView) and the points come once, by map_feed.js.

const mounts = new WeakMap();

function codeLoaded() {
  if (window.kindred?.MapView) return Promise.resolve();
  return new Promise((resolve) => window.addEventListener("kindred:map-code", resolve, { once: true }));
}

export default function (component) {
  const root = component.parentElement.querySelector(".kindred-map");
  if (!mounts.has(root)) mounts.set(root, { view: null });
  const mount = mounts.get(root);
  mount.component = component;
  codeLoaded().then(() => {
    if (mount.ended) return;
    mount.view ??= new window.kindred.MapView(root, {
      store: window.kindred.mapStore,
      tell: (event) => mount.component.setTriggerValue("event", event),
    });
    mount.view.update(mount.component.data);
  });
  return () => {
    mount.ended = true;
    mount.view?.destroy();
    mounts.delete(root);
  };
}
