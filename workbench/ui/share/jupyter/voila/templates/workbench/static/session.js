/* The life of a page's kernel. The page says so when its session is over, and ends the session when it is left. */
(function () {
  'use strict';
  const page = JSON.parse(document.getElementById('jupyter-config-data').textContent);
  const kernel = `${page.baseUrl}api/kernels/${page.kernelId}`;
  const INTERVAL_MS = 10_000;
  let failures = 0;
  let timer = null;

  function tell(what, todo) {
    clearInterval(timer);
    const banner = document.getElementById('wb-session-ended');
    banner.querySelector('strong').textContent = what;
    banner.querySelector('span').textContent = todo;
    banner.querySelector('a').href = location.href;
    banner.hidden = false;
    document.body.classList.add('wb-ended');
  }

  async function look() {
    if (document.hidden) return;
    let status = 0;
    try {
      status = (await fetch(kernel, {cache: 'no-store', credentials: 'same-origin'})).status;
    } catch (error) {
      status = 0;
    }
    failures = status === 0 ? failures + 1 : 0;
    if (status === 404) tell('This session has ended.', 'What you see stays readable; the buttons no longer work.');
    if (status === 403) tell('You are logged out.', 'Open the dashboards again with the address they were started with.');
    if (failures >= 2) tell('The dashboards were stopped.', 'Start them again, then reload this page.');
  }

  // Voilà ends the kernel when its page is left, with a request that needs this cookie, but pages of notebooks come
  // without it; the list of pages sets it. Without it every reload would leave a kernel behind.
  const cookie = () => document.cookie.match(/\b_xsrf=([^;]*)/)?.[1];
  if (!cookie()) fetch(`${page.baseUrl}voila/tree`, {credentials: 'same-origin'}).catch(() => {});

  // Some browsers, mostly on phones, leave a page without the event that Voilà waits for.
  let left = false;
  addEventListener('beforeunload', () => { left = true; });
  addEventListener('pagehide', () => {
    if (left) return;
    const form = new FormData();
    form.append('_xsrf', cookie() ?? '');
    navigator.sendBeacon(`${page.baseUrl}voila/api/shutdown/${page.kernelId}`, form);
  });

  // The first step of a panel begins when its widgets are here: what they tell a page that is still coming is lost.
  new MutationObserver((_, observer) => {
    const start = document.querySelector('.wb-start');
    if (!start) return;
    observer.disconnect();
    start.click();
  }).observe(document.body, {subtree: true, childList: true, attributeFilter: ['class']});

  timer = setInterval(look, INTERVAL_MS);
  document.addEventListener('visibilitychange', look);
  addEventListener('pageshow', (event) => { if (event.persisted) look(); });
})();
