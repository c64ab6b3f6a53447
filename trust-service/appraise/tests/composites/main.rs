//! Hardware reports and TPMs together: what each kind is worth, and every way to join parts that don't belong together.

#[cfg(test)]
mod alone;
#[cfg(test)]
mod azure;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod levels;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod svsm;
#[cfg(test)]
mod swapped;
#[cfg(test)]
mod world;
