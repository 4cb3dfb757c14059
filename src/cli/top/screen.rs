//! The terminal: what it shows and what its keys do. Keys, samples and signals come from a thread each.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;
use tokio::signal::unix::{SignalKind, signal};

use super::board::{Board, Order, SECTIONS};
use super::sample::Sample;
use crate::cli::Failure;
use crate::cli::client::Target;

enum Event {
    Key(KeyEvent),
    /// The terminal has another size.
    Resize,
    Sample(Box<Result<Sample, Failure>>),
    /// A signal, or nobody is at the keyboard any more.
    Stop,
}

/// Shows rates until somebody has seen enough.
pub(super) fn run(target: &Target, interval: Duration) -> Result<(), Failure> {
    let (sender, events) = channel();
    watch_signals(sender.clone())?;
    // Restores the terminal in a panic too, whichever thread's.
    let mut terminal =
        ratatui::try_init().map_err(|error| Failure::Runtime(format!("the terminal: {error}")))?;
    watch_keys(sender.clone());
    watch_guideway(sender, target.clone(), interval);
    let shown = show(&mut terminal, &events);
    ratatui::restore();
    shown.map_err(|error| Failure::Runtime(format!("the terminal: {error}")))
}

fn show(terminal: &mut ratatui::DefaultTerminal, events: &Receiver<Event>) -> std::io::Result<()> {
    let mut screen = Screen::default();
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        match events.recv() {
            Ok(Event::Key(key)) if !screen.key(key) => return Ok(()),
            Ok(Event::Key(_) | Event::Resize) => {}
            Ok(Event::Sample(sample)) => screen.take(*sample),
            Ok(Event::Stop) | Err(_) => return Ok(()),
        }
    }
}

fn watch_signals(events: Sender<Event>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Runtime(format!("cannot watch for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Before the terminal is changed, so that no signal leaves it so.
    let watched = runtime.block_on(async {
        let watch = |kind| signal(kind);
        Ok((watch(SignalKind::terminate())?, watch(SignalKind::interrupt())?, watch(SignalKind::hangup())?))
    });
    let (mut terminate, mut interrupt, mut hang_up) = watched.map_err(failed)?;
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        events.send(Event::Stop)
    });
    Ok(())
}

fn watch_keys(events: Sender<Event>) {
    thread::spawn(move || {
        loop {
            let event = match event::read() {
                Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => Event::Key(key),
                Ok(event::Event::Resize(..)) => Event::Resize,
                Ok(_) => continue,
                Err(_) => Event::Stop,
            };
            let is_last = matches!(event, Event::Stop);
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    });
}

fn watch_guideway(events: Sender<Event>, target: Target, interval: Duration) {
    thread::spawn(move || {
        while events.send(Event::Sample(Box::new(Sample::take(&target)))).is_ok() {
            thread::sleep(interval);
        }
    });
}

/// What is on the screen.
#[derive(Default)]
struct Screen {
    last: Option<Sample>,
    board: Option<Board>,
    /// Why there is no newer sample.
    trouble: Option<String>,
    order: Order,
    scroll: u16,
}

/// Lines of a page key.
const PAGE: u16 = 10;

impl Screen {
    fn take(&mut self, sample: Result<Sample, Failure>) {
        match sample {
            Ok(sample) => {
                self.board = Some(Board::new(&sample, self.last.as_ref()));
                (self.last, self.trouble) = (Some(sample), None);
            }
            Err(Failure::Usage(why) | Failure::Runtime(why)) => self.trouble = Some(why),
            Err(Failure::Told) => {}
        }
    }

    /// Whether to go on.
    fn key(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Tab => self.put_first((self.order.first + 1) % SECTIONS.len()),
            KeyCode::BackTab => self.put_first((self.order.first + SECTIONS.len() - 1) % SECTIONS.len()),
            KeyCode::Char(digit @ '1'..='4') => self.put_first(digit as usize - '1' as usize),
            KeyCode::Char('s') => {
                let next = self.board.as_ref().and_then(|board| board.next_sort(&self.order));
                if let Some(sort) = self.order.sort.get_mut(self.order.first) {
                    *sort = next;
                }
            }
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = self.scroll.saturating_add(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        true
    }

    fn put_first(&mut self, section: usize) {
        (self.order.first, self.scroll) = (section, 0);
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(3), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        let mut lines: Vec<Line<'_>> = match &self.board {
            Some(board) => board.head.iter().map(|line| Line::from(line.as_str())).collect(),
            None => vec![Line::from("guideway: asking")],
        };
        if let Some(trouble) = &self.trouble {
            let stale = if self.board.is_some() { " (what is below is old)" } else { "" };
            lines.insert(0, Line::from(format!("trying again{stale}: {trouble}")).red().bold());
        }
        frame.render_widget(Paragraph::new(lines), head);
        let lines = self.lines();
        let hidden = lines.len().saturating_sub(body.height.into());
        self.scroll = self.scroll.min(u16::try_from(hidden).unwrap_or(u16::MAX));
        frame.render_widget(Paragraph::new(lines).scroll((self.scroll, 0)), body);
        let help = "q quit   tab, 1-4 rules, backends, workers, drops first   s sort by the next column   arrows scroll";
        frame.render_widget(Line::from(help).dim(), foot);
    }

    fn lines(&self) -> Vec<Line<'static>> {
        let sections = self.board.iter().flat_map(|board| board.body(&self.order));
        let styled = |section: Vec<String>| {
            let title = |(index, line)| {
                let style = if index == 0 { Style::new().bold() } else { Style::new() };
                Line::styled(line, style)
            };
            section.into_iter().enumerate().map(title).chain([Line::default()]).collect::<Vec<_>>()
        };
        sections.flat_map(styled).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::board::tests::sample;
    use super::*;

    fn shown(screen: &mut Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn it_shows_rates_after_two_samples_and_says_when_guideway_is_gone_and_back() {
        let (mut screen, began) = (Screen::default(), Instant::now());
        assert!(shown(&mut screen).contains("asking"));
        screen.take(Ok(sample(1, 10, 1000, began)));
        assert!(shown(&mut screen).contains("received -"));
        screen.take(Ok(sample(1, 14, 5000, began)));
        assert!(shown(&mut screen).contains("received 1.00 k"));
        screen.take(Err(Failure::Runtime("nobody answers".into())));
        let gone = shown(&mut screen);
        assert!(
            gone.contains("trying again (what is below is old): nobody answers")
                && gone.contains("received 1.00 k")
        );
        // Another process: its counters are not held against the old one's.
        screen.take(Ok(sample(2, 15, 100, began)));
        let back = shown(&mut screen);
        assert!(back.contains("pid 2") && back.contains("received -") && !back.contains("trying"), "{back}");
    }

    #[test]
    fn keys_choose_sort_scroll_and_quit() {
        let (mut screen, began) = (Screen::default(), Instant::now());
        screen.take(Ok(sample(1, 10, 1000, began)));
        let first = |screen: &mut Screen| shown(screen).lines().nth(3).unwrap().to_owned();
        assert!(first(&mut screen).contains("rule "));
        for (key, column) in [
            (KeyCode::Char('4'), "dropped because"),
            (KeyCode::Tab, "rule "),
            (KeyCode::BackTab, "dropped because"),
            (KeyCode::Char('3'), "busy polls*"),
            (KeyCode::Char('s'), "packets/burst*"),
        ] {
            assert!(press(&mut screen, key));
            assert!(first(&mut screen).contains(column), "{key:?}: {}", first(&mut screen));
        }
        press(&mut screen, KeyCode::Down);
        assert!(first(&mut screen).contains("\"0 "), "{}", first(&mut screen));
        // Not beyond the end.
        (0..99).for_each(|_| assert!(press(&mut screen, KeyCode::PageDown)));
        assert!(shown(&mut screen).contains("no-rule"));
        press(&mut screen, KeyCode::Home);
        assert!(first(&mut screen).contains("busy polls"));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!screen.key(control_c) && !press(&mut screen, KeyCode::Char('q')));
    }
}
